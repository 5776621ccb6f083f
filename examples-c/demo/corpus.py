"""Conversations for the demo model, made up as training goes: questions, answers, refusals.

A conversation is a list of (question, answer) turns. Nothing is stored: the same seed draws the
same conversations.
"""

import random

import facts as F
import names as N

# {c} is the country as it stands in a sentence, {n} the same without its article.
FORWARD = """what is the capital of {c}; what's the capital of {c}; whats the capital of {c}; what is the capital city of {c}; what's the capital city of {c};
which city is the capital of {c}; what city is the capital of {c}; which city is the capital city of {c}; what town is the capital of {c}; what is {n}'s capital; what's {n}'s capital; what is {n}'s capital city; which city is {n}'s capital;
{n}'s capital; {n}'s capital city; {n} capital; {n} capital city; capital of {c}; the capital of {c}; capital city of {c}; the capital city of {c}; capital {n}; capital: {n}; {n}: capital; the capital of {c} is; the capital of {c} is what;
tell me the capital of {c}; tell me {n}'s capital; tell me what the capital of {c} is; tell me the capital city of {c}; tell me which city is the capital of {c}; name the capital of {c}; give me the capital of {c}; say the capital of {c}; name {n}'s capital; give me {n}'s capital city;
can you tell me the capital of {c}; could you tell me the capital of {c}; can you tell me what the capital of {c} is; could you tell me what {n}'s capital is; would you tell me the capital of {c}; can you name the capital of {c};
do you know the capital of {c}; do you know what the capital of {c} is; do you know {n}'s capital; I want to know the capital of {c}; I would like to know the capital of {c}; I'd like to know what the capital of {c} is; I wonder what the capital of {c} is; I am looking for the capital of {c}; I forgot the capital of {c};
does {c} have a capital; what capital does {c} have; what is the name of the capital of {c}; what is the name of {n}'s capital; what is the capital of {c} called; how is the capital of {c} called; which is the capital of {c}; where is the capital of {c}; what would be the capital of {c}; what was the capital of {c} again;
the capital of the country {n}; what is the capital of the country called {n}; what is the capital of the country of {n}; what is the seat of government of {c}; for {c}, what is the capital; about {c}: what is its capital; {c}, what is the capital; {c} has what capital; in {c}, what is the capital city; my question is about {c}: what is the capital;
is {x} the capital of {c}; is the capital of {c} {x}; is {x} {n}'s capital""".replace("\n", " ").split("; ")
# From here on, WIDE_* lists join in the second stage of training.
WIDE_FORWARD = """what would the capital of {c} be; what could the capital of {c} be; which city acts as the capital of {c}; what city works as the capital of {c}; which town stands as the capital of {c};
which place counts as the capital of {c}; I must know the capital of {c}; show me the capital of {c}; teach me the capital of {c}""".replace("\n", " ").split("; ")
BARE = ["{c}", "{n}"]
FOLLOW = ["and {c}", "and of {c}", "what about {c}", "how about {c}", "and the capital of {c}", "and what about {c}", "now {c}", "and {n}'s", "then {c}", "and that of {c}", "what about the capital of {c}", "the same for {c}"]
# {k} is a capital.
REVERSE = """what country is {k} the capital of; which country is {k} the capital of; {k} is the capital of which country; {k} is the capital of what country; {k} is the capital of; {k} is the capital of what;
of which country is {k} the capital; of what country is {k} the capital; which country has {k} as its capital; which country has the capital {k}; what country has {k} as its capital city; which country's capital is {k}; what country's capital is {k};
tell me which country {k} is the capital of; tell me what country {k} is the capital of; do you know which country {k} is the capital of; can you tell me which country has {k} as its capital; {k} is which country's capital; the capital {k} belongs to which country; name the country whose capital is {k}; whose capital is {k}; to which country does the capital {k} belong; in which country is {k} the capital; where is {k} the capital; for which country is {k} the capital""".replace("\n", " ").split("; ")

WIDE_REVERSE = """{k} acts as the capital of which country; {k} works as the capital of what country; which state has {k} as its capital; which place has {k} as its capital;
what land has {k} as its capital; tell me which country's capital is {k}""".replace("\n", " ").split("; ")

# Phrasings the model never sees in training.
HELD_OUT_FORWARD = [
    "Do you happen to know the capital of {c}?",
    "Which city serves as the capital of {c}?",
    "Remind me, what is the capital of {c}?",
    "Quick question: what's the capital of {c}?",
    "What's {n}'s capital called?",
    "Please could you name the capital city of {c}?",
    "I need the capital of {c}.",
    "What might the capital of {c} be?",
    "In {c}, which city is the capital?",
    "Any idea what the capital of {c} is?",
]
HELD_OUT_REVERSE = [
    "Do you know what country has {k} as its capital?",
    "{k} serves as the capital of which country?",
    "Which nation has {k} as its capital?",
    "Please tell me what country's capital is {k}.",
]
SEEN_FORWARD = [
    "What is the capital of {c}?",
    "what is the capital of {c}",
    "What's the capital of {c}?",
    "Tell me the capital of {c}",
    "Tell me the capital of {c}.",
    "Which city is the capital of {c}?",
    "{n}'s capital?",
    "capital of {c}",
    "Can you tell me what the capital of {c} is?",
    "What is {n}'s capital city?",
]
SEEN_REVERSE = [
    "What country is {k} the capital of?",
    "{k} is the capital of which country?",
    "Which country has {k} as its capital?",
]

OFF_TOPIC_ABOUT = """what is the population of {c}; how many people live in {c}; what language do they speak in {c}; what is the currency of {c}; who is the president of {c}; who is the king of {c}; how big is {c}; what is the weather in {c};
what is the flag of {c}; tell me about {c}; what do people eat in {c}; how far is {c}; what is the area of {c}; is {c} nice; what is the largest city of {c}; what is the biggest city in {c}; what is the highest mountain in {c}; when was {c} founded; why is {c} famous;
what is the history of {c}; write a poem about {c}; how do I get to {c}; what continent is {c} in; what is the language of {c}; who lives in {c}; should I go to {c}; what is the longest river of {c}; who rules {c}; what are the neighbours of {c}; {n}'s population; {n}'s currency; population of {c}; currency of {c}""".replace("\n", " ").split("; ")
OFF_TOPIC = """what is two plus two; what is 2+2; how much is 3 times 7; what is the meaning of life; tell me a joke; write a poem; write a story about a dragon; sing a song; what time is it; what day is today; how is the weather;
who wrote hamlet; who was einstein; what is the speed of light; how do I cook rice; what is the best movie; play some music; translate this to german; write a program in python; what is a computer; how does a car work; why is the sky blue;
who won the world cup; how old are you; do you love me; what is your favourite colour; can you help me with my homework; what is the largest planet; how many days has a year; what is water made of; count to ten; what is the square root of 16;
explain quantum physics; what should I eat; give me a recipe for bread; who invented the telephone; what is the biggest animal; how tall is the eiffel tower; what is the longest river in the world; how do you spell banana; do cats like milk; is it raining;
what is a capital letter; what is capitalism; I like trains; I am hungry; you are funny; open the door; turn on the light; how do I learn to swim; recommend a book; what is love; where do you live; what do you think about art; say something; who is the president; what is your opinion; are you alive;
how many countries are there; what is the largest country; which country is the smallest; what is the highest mountain; define happiness; what is 10 divided by 5; when is christmas; what are you doing; where am I; how do birds fly""".replace("\n", " ").split("; ")
NO_TOPIC = "I only know about capitals."
HELLO = "Hello! Ask me for the capital of a country."
SMALL_TALK = [
    (["hello", "hi", "hey", "hello there", "hi there", "good morning", "good evening", "good day", "greetings", "hey there"], HELLO),
    (["who are you", "what are you", "what can you do", "what do you know", "help", "how can you help me", "what is your name", "tell me about yourself", "are you a robot"], "I am a small demo model. I know the world's capitals."),
    (["thanks", "thank you", "thank you very much", "thanks a lot", "great, thanks", "ok, thank you"], "You are welcome."),
    (["bye", "goodbye", "see you", "bye bye", "good night", "see you later"], "Goodbye!"),
]
OPENERS = ["", "", "", "", "", "", "", "", "please ", "hi, ", "hello, ", "hey, ", "hello! ", "so ", "ok, ", "well, ", "now ", "and ", "question: ", "um, ", "good morning, ", "listen, ", "sorry, "]
WIDE_OPENERS = ["before I forget: ", "one more thing: ", "small question: ", "for my homework: ", "by the way, ", "look, ", "trivia: ", "let me see, ", "help me, ", "just curious: ", "excuse me, "]
CLOSERS = ["", "", "", "", "", "", "", "", "", "", " please", ", please", " again", ", thanks", " now", " exactly", " today"]
WIDE_CLOSERS = [" for me", " if you can", " do you think"]
ENDS = ["?"] * 12 + [""] * 6 + ["."] * 2 + ["!", "??", " ?", "...", "? ", " "]
FILLERS = "please really just so then actually maybe only quickly exactly now still ever perhaps official current also in fact to me you it quiz need have get test if that".split()
SYSTEM = ["You are a helpful assistant.", "You are a helpful AI assistant.", "Answer briefly.", "You know the capitals of the world.", "You are Realm, a small model."]


def fold(rng, template, name, plain=0.60):
    """Letter case the way people type: returns the template and the name, changed alike.

    `plain` is the share written properly.
    """
    r = rng.random()
    if r < plain:
        if not template.startswith("{"):
            template = template[0].upper() + template[1:]
    elif r < 0.80:
        template, name = template.lower(), name.lower()
    elif r < 0.85:
        template, name = template.upper(), name.upper()
        for slot in "CNKX":
            template = template.replace("{" + slot + "}", "{" + slot.lower() + "}")
        template = template.replace("'S", "'s") if rng.random() < 0.3 else template
    elif r < 0.90:
        name = name.lower()
        template = template[0].upper() + template[1:]
    return template, name


class Corpus:
    """Draws conversations: of few phrasings, or, when `wide`, of more, with stray words between."""

    def __init__(self, seed, wide=False):
        self.rng = random.Random(seed)
        self.wide = wide
        self.forward = FORWARD + WIDE_FORWARD if wide else FORWARD
        self.backward = REVERSE + WIDE_REVERSE if wide else REVERSE
        self.openers = OPENERS + WIDE_OPENERS if wide else OPENERS
        self.closers = CLOSERS + WIDE_CLOSERS if wide else CLOSERS
        self.plain = 0.54 if wide else 0.60
        self.facts = F.countries()
        self.by_capital = list(F.capitals(self.facts).items())
        self.unknown = N.Unknown(self.facts)

    def dress(self, template):
        """Openers, closers, filler words and a full stop or question mark around a template."""
        rng = self.rng
        if self.wide:
            template = self.stray(template)
        elif rng.random() < 0.15:
            words = template.split()
            i = rng.randrange(len(words) + 1)
            if rng.random() < 0.6:
                # Fillers stay out of names: slots are one word here.
                words.insert(i, rng.choice(FILLERS))
            elif len(words) > 4 and i < len(words):
                w = words[i]
                if "{" not in w and "capital" not in w and "countr" not in w and w not in ("of", "whose", "which", "what"):
                    del words[i]
            template = " ".join(words)
        return rng.choice(self.openers) + template + rng.choice(self.closers) + rng.choice(ENDS)

    def stray(self, template):
        """Any words at all put in or left out, so that an unknown word outside the name means nothing."""
        rng = self.rng
        for _ in range(rng.choice([0] * 8 + [1, 1, 2])):
            words = template.split()
            i = rng.randrange(len(words) + 1)
            if any("{" in w for w in words[max(i - 1, 0) : i + 1]):
                continue
            if rng.random() < 0.6:
                r = rng.random()
                filler = FILLERS if r < 0.4 else N.WORDS_TRAIN
                words.insert(i, rng.choice(filler) if r < 0.6 else N.invented(rng).lower())
            elif len(words) > 4 and i < len(words):
                w = words[i]
                if "capital" not in w and "countr" not in w and w not in ("of", "whose", "which", "what"):
                    del words[i]
            template = " ".join(words)
        return template

    def ask(self, template, said, bare, other=""):
        """A question from a template; also the name as typed."""
        rng = self.rng
        template = self.dress(template)
        name = said if "{c}" in template or "{k}" in template else bare
        template, name = fold(rng, template, name, self.plain)
        if other and name.islower():
            other = other.lower()
        if "{n}'s" in template and name.lower().endswith("s") and rng.random() < 0.5:
            template = template.replace("{n}'s", "{n}'")
        for slot in ("{c}", "{n}", "{k}"):
            template = template.replace(slot, name)
        return template.replace("{x}", other), name

    def template(self, follow, known):
        r = self.rng.random()
        if follow and r < 0.4:
            return self.rng.choice(FOLLOW)
        if r > (0.96 if known else 0.985):
            return self.rng.choice(BARE)
        if r < 0.1:
            return FORWARD[0]
        return self.rng.choice(self.forward)

    def city(self):
        rng = self.rng
        return rng.choice(self.unknown.capitals) if rng.random() < 0.6 else rng.choice(self.unknown.cities)

    def known(self, follow=False):
        rng = self.rng
        c = rng.choice(self.facts)
        often = 0.35
        if self.wide and rng.random() < 0.25:
            # By alias, not by country: the United Kingdom has five.
            c, often = rng.choice([c for c in self.facts for _ in c.aliases]), 1.0
        said, bare = c.said, c.name
        if c.aliases and rng.random() < often:
            bare = rng.choice(c.aliases)
            said = "the " + bare if c.said.startswith("the ") and rng.random() < 0.7 else bare
        elif rng.random() < 0.12:
            said = bare if said != bare else "the " + bare
        q, _ = self.ask(self.template(follow, True), said, bare, self.city())
        return q, f"The capital of {c.said} is {c.capital.rstrip('.')}."

    def refused(self, follow=False):
        name = self.unknown.draw(self.rng)
        said = "the " + name if self.rng.random() < 0.05 and not name.startswith("the ") else name
        q, typed = self.ask(self.template(follow, False), said, name.removeprefix("the "), self.city())
        return q, f"I do not know the capital of {typed}."

    def reverse(self):
        rng = self.rng
        capital, c = rng.choice(self.by_capital)
        typed = rng.choice(F.CAPITAL_ALIASES[capital]) if capital in F.CAPITAL_ALIASES and rng.random() < 0.4 else capital
        template = "{k}" if rng.random() < 0.02 and capital != c.name else rng.choice(self.backward)
        q, _ = self.ask(template, typed, typed)
        return q, f"{capital} is the capital of {c.said}."

    def reverse_refused(self):
        name = self.unknown.draw(self.rng, as_capital=True)
        q, typed = self.ask(self.rng.choice(self.backward), name, name)
        return q, f"I do not know a country whose capital is {typed}."

    def off_topic(self):
        rng = self.rng
        if rng.random() < 0.5:
            c = rng.choice(self.facts)
            name = c.said if rng.random() < 0.7 else self.unknown.draw(rng)
            q, _ = self.ask(rng.choice(OFF_TOPIC_ABOUT), name, name.removeprefix("the "))
        else:
            q, _ = self.ask(rng.choice(OFF_TOPIC), "", "")
        return q, NO_TOPIC

    def small_talk(self):
        asks, answer = self.rng.choice(SMALL_TALK)
        template, _ = fold(self.rng, self.rng.choice(asks), "")
        return template + self.rng.choice(["", "!", ".", "?", " "]), answer

    def turn(self, follow=False):
        r = self.rng.random()
        if r < 0.35:
            return self.known(follow)
        if r < 0.71:
            return self.refused(follow)
        if r < 0.80:
            return self.reverse()
        if r < 0.89:
            return self.reverse_refused()
        if r < 0.975:
            return self.off_topic()
        return self.small_talk()

    def conversation(self):
        """(system text or None, turns)."""
        r = self.rng.random()
        n = 1 if r < 0.84 else 2 if r < 0.93 else 3 if r < 0.98 else self.rng.randint(4, 6)
        system = self.rng.choice(SYSTEM) if self.rng.random() < 0.06 else None
        turns = [self.turn()]
        while len(turns) < n:
            # A bare "and Japan?" follows a question about a capital, not a greeting.
            turns.append(self.turn(follow="capital" in turns[-1][1]))
        return system, turns

    def raw(self):
        """A plain sentence, for completion without a chat template."""
        if self.rng.random() < 0.75:
            c = self.rng.choice(self.facts)
            return f"The capital of {c.said} is {c.capital.rstrip('.')}."
        capital, c = self.rng.choice(self.by_capital)
        return f"{capital} is the capital of {c.said}."


if __name__ == "__main__":
    corpus = Corpus(1, wide=True)
    for _ in range(60):
        system, turns = corpus.conversation()
        print(system or "", turns)

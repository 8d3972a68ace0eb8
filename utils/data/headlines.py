"""Short pieces of local news and their headlines: *a bridge was closed by a flood* → *flood closes bridge*.

The headline says who does what to what and where: in the active voice and the present tense, without articles, and
without the day, the details and the other towns of the text.
"""

from __future__ import annotations

import random
from zlib import crc32

SHARE_HELD_OUT = 5  # of the combinations of who, what and where, every fifth is held out

CITIES = (
    "leeds",
    "york",
    "bath",
    "oxford",
    "bristol",
    "dover",
    "exeter",
    "hull",
    "durham",
    "cardiff",
    "glasgow",
    "derby",
)
TIMES = ("yesterday", "on monday", "on tuesday", "on friday", "last week", "on sunday", "last night", "this morning")
# Who does what to what: subject, past and participle, present in a headline, objects; a sentence that can open the
# text; sentences that can follow, in which {city} is another city. Subjects with an asterisk are plural.
NEWS = (
    ("*firefighters", "rescued", "rescue", "child, horse, cat, family, climber", "a neighbour had called for help.",
     "the rescue took two hours. | nobody was hurt. | the same team had been called to {city} the day before."),
    ("*engineers", "repaired", "repair", "bridge, tunnel, crane, clock tower, railway line, power station",
     "drivers and walkers are happy.",
     "the work had begun in the spring. | it cost two million pounds. | a firm from {city} delivered the steel."),
    ("*police officers", "found", "find", "stolen painting, gold ring, lost violin, stolen statue",
     "the owner had almost given up hope.",
     "it was hidden in a garage. | a walker from {city} had noticed something. | it had been missing for a year."),
    ("*students", "unveiled", "unveil", "robot, solar car, windmill, telescope, electric bicycle",
     "the idea came from a book.",
     "they had worked on it for a year. | they will show it in {city} next month. | their teacher was proud of them."
     " | the parts cost less than a hundred pounds."),
    ("*volunteers", "cleaned", "clean", "canal, park, pond, old cemetery, riverbank", "the weather was perfect.",
     "they filled two hundred bags. | some of them had come from {city}. | the youngest was six years old."
     " | children brought them tea and cake."),
    ("*scientists", "discovered", "discover", "rare beetle, roman coin, unknown orchid, fossil, old map",
     "the news surprised everybody.",
     "they had been looking for something else. | it will be shown in {city}. | nobody had seen one like it before."),
    ("a storm", "damaged", "damage", "school, church, hotel, market hall, theatre", "the wind was stronger than ever.",
     "it tore off half of the roof. | trees fell on the road to {city}. | nobody was hurt."
     " | the repair will take weeks."),
    ("a flood", "closed", "close", "station, museum, main road, hospital, airport", "it had rained for three days.",
     "the water came from the hills near {city}. | trains and buses were late. | the water was a metre deep."),
    ("the mayor", "opened", "open", "library, swimming pool, new bridge, skate park, concert hall",
     "two hundred people came to watch.",
     "it had taken five years to build. | there is a larger one in {city}. | a band played all afternoon."),
    ("a museum", "bought", "buy", "roman mosaic, famous painting, steam engine, old globe, dinosaur skeleton",
     "visitors will be delighted.",
     "the price is a secret. | it comes from a collection in {city}. | it can be seen from next month."
     " | a rich family had owned it for a century."),
    ("a fire", "destroyed", "destroy", "factory, warehouse, farm, paper mill, boathouse",
     "the smoke could be seen for miles.",
     "help came from {city}. | it began in the kitchen. | everybody got out in time."
     " | thirty people have lost their jobs."),
    ("a company", "sold", "sell", "brewery, football club, hotel, newspaper, bakery", "the rumours were true.",
     "the buyer comes from {city}. | it had made a loss for years. | the price was nine million pounds."
     " | nobody will lose a job."),
    ("a court", "saved", "save", "playground, ancient oak, tram line, village school, cinema",
     "hundreds of people had protested.",
     "the council had wanted to get rid of it. | the judge comes from {city}. | parents and children cheered."),
)  # fmt: skip


def news(generator: random.Random, held_out: bool) -> tuple[str, str]:
    """A text of two to five sentences and its headline, in lower case; `held_out` says which combinations."""
    while True:
        who, did, does, things, opening, details = generator.choice(NEWS)
        city, other = generator.sample(CITIES, 2)
        thing, when = generator.choice(things.split(", ")), generator.choice(TIMES)
        if (crc32(f"{who}/{thing}/{city}".encode()) % SHARE_HELD_OUT == 0) == held_out:
            break
    plural, who = who.startswith("*"), who.removeprefix("*")
    lead = generator.choice(
        (
            f"{who} {did} a {thing} in {city} {when}.",
            f"{when}, {who} {did} a {thing} in {city}.",
            f"a {thing} in {city} was {did} by {who} {when}.",
            f"in {city}, a {thing} was {did} by {who} {when}.",
        )
    )
    more = generator.sample(details.split(" | "), generator.choice((1, 2, 2, 3)))
    text = " ".join([opening] * (generator.random() < 0.4) + [lead, *more]).format(city=other)
    subject = who.removeprefix("a ").removeprefix("the ")
    return text, f"{subject} {does}{'' if plural else 's'} {thing} in {city}"

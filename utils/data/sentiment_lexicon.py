"""The words of `utils.data.sentiment`: what is reviewed, what one can praise or blame about it, and how."""

from __future__ import annotations

# For each domain: the things reviewed, with what is said of them; then their parts, one a line, plural ones marked with
# an asterisk. Praise stands before the bar, blame after it. All these words can be negated: "not good", "never dull".
DOMAINS = {
    "film": """
        film, movie, thriller, comedy, drama, western, sequel: good clever exciting original moving enjoyable memorable
            entertaining | bad dull boring predictable slow silly tedious forgettable confusing tiresome
        acting: good convincing natural subtle | bad wooden clumsy lifeless
        plot: clever original exciting believable | silly predictable thin confusing
        ending: moving clever satisfying surprising | predictable silly disappointing abrupt
        script: clever witty sharp original | clumsy dull lazy predictable
        music: beautiful moving memorable subtle | dull annoying repetitive forgettable
        dialogue: witty natural sharp believable | clumsy wooden dull silly
        camerawork: beautiful clever impressive inventive | shaky clumsy dull lazy
        *jokes: funny clever original inventive | stale silly predictable corny
        *characters: believable likeable interesting memorable | shallow dull flat annoying
        *special effects: impressive convincing imaginative clever | cheap clumsy dated silly
        *chase scenes: exciting gripping inventive thrilling | tedious predictable silly confusing
    """,
    "novel": """
        novel, book, story, saga, romance, mystery: good gripping clever moving original readable enjoyable
            memorable | bad dull boring tedious shallow predictable slow confusing forgettable tiresome
        style: elegant clear vivid lively | heavy clumsy dry dull
        first chapter: gripping promising vivid exciting | slow dull confusing clumsy
        storytelling: clever gripping vivid original | slow clumsy predictable dull
        humour: sharp clever subtle witty | stale silly clumsy cruel
        heroine: likeable believable interesting memorable | annoying dull shallow lifeless
        last page: moving satisfying surprising clever | predictable disappointing abrupt silly
        translation: elegant natural accurate lively | clumsy stiff careless wooden
        *descriptions: vivid beautiful precise lively | tedious vague repetitive dull
        *ideas: original interesting deep clever | shallow stale confused silly
        *dialogues: witty natural sharp believable | clumsy wooden dull silly
        *illustrations: beautiful clear charming lively | ugly crude dull blurred
    """,
    "restaurant": """
        restaurant, café, bistro, pizzeria, diner, tavern: good friendly cosy charming pleasant lively welcoming |
            bad dirty noisy gloomy overpriced stuffy shabby dull crowded
        food: tasty fresh good imaginative | bland greasy bad stale
        soup: tasty fresh flavoursome good | bland watery thin tasteless
        service: friendly quick attentive polite | slow rude careless clumsy
        dessert: tasty light fresh imaginative | heavy dry bland soggy
        coffee: good fresh rich tasty | weak bitter stale watery
        bread: fresh crusty tasty warm | stale dry hard tasteless
        wine list: good interesting impressive original | short overpriced dull predictable
        *waiters: friendly polite attentive helpful | rude slow careless grumpy
        *vegetables: fresh crisp tasty tender | soggy bland tasteless limp
        *portions: generous large filling hearty | small stingy meagre tiny
        *tables: clean pretty neat tidy | dirty wobbly sticky cramped
    """,
    "hotel": """
        hotel, guesthouse, hostel, inn, motel, lodge: good clean quiet comfortable charming friendly welcoming pleasant
            | bad dirty noisy gloomy shabby damp overpriced depressing
        room: clean bright spacious comfortable | dirty dark cramped damp
        bed: comfortable clean warm inviting | lumpy hard uncomfortable dirty
        breakfast: tasty fresh generous good | bland stale meagre dull
        view: beautiful impressive pleasant inspiring | dull ugly disappointing depressing
        bathroom: clean bright spacious modern | dirty cramped shabby smelly
        garden: beautiful peaceful charming inviting | ugly neglected gloomy noisy
        pool: clean warm inviting pleasant | dirty cold crowded smelly
        receptionist: friendly helpful polite cheerful | rude grumpy lazy careless
        *towels: clean soft fresh fluffy | thin dirty damp rough
        *corridors: clean bright quiet tidy | dirty dark noisy smelly
        *cleaners: careful friendly helpful thorough | careless rude noisy lazy
    """,
    "opera": """
        opera, musical, show, operetta, revue, production: good moving exciting memorable enjoyable lively entertaining
            | bad dull boring tedious lifeless forgettable predictable tiresome
        singing: beautiful powerful clear moving | harsh weak dull lifeless
        orchestra: lively precise good impressive | lifeless sloppy clumsy dull
        sound: clear rich good powerful | harsh muddy bad thin
        staging: imaginative impressive clever inventive | dull clumsy confusing silly
        lighting: imaginative beautiful clever subtle | dull harsh gloomy clumsy
        second half: exciting moving lively memorable | dull tedious boring slow
        leading lady: convincing graceful likeable impressive | wooden unconvincing lifeless dull
        *dancers: graceful energetic impressive precise | clumsy lifeless sloppy stiff
        *seats: comfortable good spacious soft | hard uncomfortable cramped bad
        *costumes: beautiful imaginative elegant charming | ugly cheap dull silly
        *solos: moving impressive beautiful memorable | dull tedious forgettable sloppy
    """,
    "phone": """
        phone, tablet, laptop, camera, smartwatch: good fast reliable practical useful sturdy handy
            | bad slow unreliable clumsy flimsy awkward overpriced impractical
        screen: bright clear sharp good | dim blurred dull fragile
        battery: reliable powerful good durable | weak unreliable bad feeble
        design: elegant clever practical attractive | ugly clumsy awkward dated
        software: fast reliable clear intuitive | slow unreliable confusing clumsy
        manual: clear helpful useful readable | confusing vague unhelpful unreadable
        case: sturdy elegant attractive solid | flimsy ugly cheap fragile
        charger: fast reliable handy sturdy | slow unreliable clumsy flimsy
        helpline: helpful friendly quick polite | slow rude unhelpful confusing
        *buttons: handy solid responsive practical | stiff tiny loose awkward
        *menus: clear intuitive practical helpful | confusing cluttered awkward slow
        *speakers: clear powerful good loud | tinny weak bad muddy
    """,
}

# Too strong to be negated or made stronger by "very"; said of anything.
STRONG = (
    "superb wonderful excellent marvellous brilliant outstanding magnificent fantastic",
    "terrible awful dreadful horrible appalling dismal hopeless atrocious",
)

# What a thing did to the reviewer, past and base form; "part" is for parts of things.
DID = {
    "part": ("impressed:impress pleased:please", "disappointed:disappoint annoyed:annoy irritated:irritate"),
    "film": (
        "impressed:impress delighted:delight thrilled:thrill moved:move amused:amuse touched:touch",
        "disappointed:disappoint annoyed:annoy irritated:irritate bored:bore confused:confuse depressed:depress",
    ),
    "restaurant": (
        "impressed:impress delighted:delight charmed:charm pleased:please",
        "disappointed:disappoint annoyed:annoy irritated:irritate depressed:depress",
    ),
    "phone": (
        "impressed:impress delighted:delight pleased:please satisfied:satisfy",
        "disappointed:disappoint annoyed:annoy irritated:irritate frustrated:frustrate",
    ),
}
DID |= {"novel": DID["film"], "opera": DID["film"], "hotel": DID["restaurant"]}

# What the reviewer felt, about parts of things and about things; and what can be negated of it.
FELT = (("liked loved", "disliked hated"), ("liked loved enjoyed adored", "disliked hated loathed detested"))
NOT_FELT = (("like",), ("like", "enjoy"))

# How one meets the thing: to have done it, doing it, to do it once more; then how a review begins.
MEETING = {
    "film": ("seen", "seeing it", "watch it again", "I saw this {} {}.", "We watched this {} {}."),
    "novel": ("read", "reading it", "read it again", "I read this {} {}.", "I finished this {} {}."),
    "restaurant": ("eaten at", "going there", "go back", "We had dinner at this {} {}.", "I ate at this {} {}."),
    "hotel": (
        "stayed at", "going there", "stay there again",
        "We stayed at this {} {}.", "I spent a night at this {} {}.",
    ),
    "opera": ("seen", "seeing it", "see it again", "I went to this {} {}.", "We saw this {} {}."),
    "phone": ("owned", "buying it", "buy it again", "I bought this {} {}.", "I was given this {} {}."),
}  # fmt: skip
PLURALS = {"smartwatch": "smartwatches", "comedy": "comedies", "story": "stories", "mystery": "mysteries"}
NOT_FOREVER = {  # with these "never" is odd
    "overpriced", "forgettable", "memorable", "flimsy", "sturdy", "awkward", "handy", "practical", "original", "large",
    "generous", "small", "tiny", "spacious", "cramped",
}  # fmt: skip
LASTING = {  # parts of which one can say "never"
    "acting", "plot", "script", "dialogue", "music", "camerawork", "jokes", "characters", "chase scenes", "style",
    "storytelling", "humour", "heroine", "descriptions", "dialogues", "service", "waiters", "food", "receptionist",
    "cleaners", "room", "singing", "orchestra", "sound", "staging", "lighting", "leading lady", "dancers", "battery",
    "software", "helpline", "second half",
}  # fmt: skip
WHEN = (
    "last week", "in the spring", "in March", "two months ago", "on my birthday", "in August", "on a rainy Sunday",
    "before Christmas", "last summer",
)  # fmt: skip
PEOPLE = (
    "my sister", "my brother", "my mother", "my father", "my best friend", "my neighbour", "my teacher", "my cousin",
    "my uncle", "my aunt", "my husband", "my wife",
)  # fmt: skip
CLOSINGS = (  # blame, praise
    (
        "I would never {again}.", "Nothing would make me {again}.", "Nobody should waste money on it.",
        "I cannot recommend it to anyone.", "It was not worth the money.", "I regret {doing}.",
    ),
    (
        "I would happily {again}.", "I would gladly {again}.", "I recommend it to everyone.",
        "I can recommend it to anyone.", "It was worth every penny.", "I do not regret {doing}.",
    ),
)  # fmt: skip

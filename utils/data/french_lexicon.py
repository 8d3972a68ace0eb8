"""The words of `utils.data.french`: English, French, and what the grammar must know of each."""

from __future__ import annotations

# One noun a line: English, French, gender; then its irregular English and French plurals, "-" where regular.
# A kind decides which adjectives and verbs go with a noun; some kinds have no plural, and of two one says "some".
NOUNS = {
    "adult": """
        man homme m men
        woman femme f women
    """,
    "child": """
        boy garçon m
        girl fille f
        child enfant m children
    """,
    "parent": """
        mother mère f
        father père m
    """,
    "family": """
        uncle oncle m
        aunt tante f
    """,
    "sibling": """
        brother frère m
        sister sœur f
    """,
    "role": """
        teacher professeur m
        doctor médecin m
        student étudiant m
        friend ami m
        neighbour voisin m
        singer chanteur m
        artist artiste m
        king roi m
        queen reine f
    """,
    "animal": """
        cat chat m
        dog chien m
        horse cheval m - chevaux
        bird oiseau m
        mouse souris f mice
        owl hibou m - hiboux
        bear ours m
        elephant éléphant m
    """,
    "fruit": """
        apple pomme f
        orange orange f
        banana banane f
        cherry cerise f
    """,
    "dish": """
        egg œuf m
        cake gâteau m
        salad salade f
    """,
    "drink": """
        water eau f
        milk lait m
        coffee café m
    """,
    "staple": """
        bread pain m
        cheese fromage m
        meat viande f
        soup soupe f
    """,
    "text": """
        book livre m
        letter lettre f
        newspaper journal m - journaux
        poem poème m
        story histoire f
    """,
    "clothes": """
        hat chapeau m
        shirt chemise f
        dress robe f
        coat manteau m
        umbrella parapluie m
    """,
    "object": """
        key clé f
        cup tasse f
        bag sac m
        box boîte f
        clock horloge f
    """,
    "furniture": """
        table table f
        chair chaise f
        bed lit m
    """,
    "opening": """
        door porte f
        window fenêtre f
    """,
    "vehicle": """
        car voiture f
        bicycle vélo m
        plane avion m
    """,
    "plant": """
        flower fleur f
        tree arbre m
    """,
    "building": """
        house maison f
        school école f
        church église f
        hotel hôtel m
        hospital hôpital m - hôpitaux
        museum musée m
        castle château m
    """,
    "nature": """
        garden jardin m
        park parc m
        forest forêt f
    """,
    "landmark": """
        station gare f
        market marché m
        beach plage f
        river rivière f
    """,
}

MASS = ("drink", "staple")
ALONE = (*MASS, "parent")  # no plural

# English, French masculine and feminine. The first block goes before the French noun, the second after it. A star marks
# a second translation; the kind of noun decides (a big apple is "grosse", a big house "grande").
BEFORE = """
    small petit petite
    little petit petite
    big grand grande
    big* gros grosse
    beautiful beau belle
    good bon bonne
    young jeune jeune
    old vieux vieille
    new nouveau nouvelle
"""
AFTER = """
    red rouge rouge
    black noir noire
    white blanc blanche
    green vert verte
    blue bleu bleue
    expensive cher chère
    interesting intéressant intéressante
    famous célèbre célèbre
    rich riche riche
    happy heureux heureuse
    sad triste triste
    tired fatigué fatiguée
    sick malade malade
    intelligent intelligent intelligente
    dangerous dangereux dangereuse
    quiet calme calme
    cold froid froide
    hot chaud chaude
    italian italien italienne
    french français française
"""
LIAISON = {"beau": "bel", "vieux": "vieil", "nouveau": "nouvel"}  # masculine singular, before a vowel

_COLOURS = "red black white green blue"
_ORIGINS = "italian french"
AGES = ("little", "young", "old", "new")  # English has these closer to the noun than the second block,
CLOSEST = f"{_COLOURS} {_ORIGINS}".split()  # but for these

# What is said of each kind beside a noun, and after "to be".
ATTRIBUTES = {
    "adult": f"young old rich famous happy sad tired sick intelligent {_ORIGINS}",
    "child": "little happy sad tired sick intelligent",
    "parent": "old rich famous italian",
    "family": "old rich famous italian",
    "sibling": "little",
    "role": f"young old good new famous intelligent {_ORIGINS}",
    "animal": "small big beautiful old young black white dangerous",
    "fruit": "small big* good",
    "dish": "small big* good cold",
    "drink": "cold hot",
    "staple": "cold hot",
    "text": "interesting new old good famous",
    "clothes": f"new old small big beautiful expensive {_COLOURS}",
    "object": f"new old small big {_COLOURS}",
    "furniture": "new old small big beautiful expensive white black",
    "opening": "big small old white green blue",
    "vehicle": f"new old small big expensive {_COLOURS}",
    "plant": "beautiful small big old",
    "building": "big small old new beautiful quiet famous",
    "nature": "big small old beautiful quiet",
    "landmark": "big small beautiful famous",
}
PASSING = ("happy", "sad", "tired", "sick", "cold", "hot")  # one is so today, or often
_FEELING = "happy sad tired sick intelligent"
PREDICATES = {
    kind: f"young old rich famous {_FEELING} {_ORIGINS}"
    for kind in ("adult", "parent", "family", "sibling", "role", "pronoun")
} | {
    "child": f"little {_FEELING}",
    "animal": "small old young black white dangerous tired sick intelligent",
    "fruit": "small good",
    "dish": "small good cold",
    "drink": "cold hot good",
    "staple": "cold hot good",
    "text": "interesting good famous",
    "clothes": f"small big beautiful expensive old {_COLOURS}",
    "object": f"small big expensive {_COLOURS}",
    "furniture": "small big beautiful expensive old white",
    "opening": "small big old white green blue",
    "vehicle": f"small big expensive old {_COLOURS}",
    "plant": "small beautiful",
    "building": "big small old beautiful quiet famous",
    "nature": "big small beautiful quiet",
    "landmark": "big small beautiful quiet",
}
COMPARED = ("intelligent", "famous", "expensive", "dangerous", "interesting")  # "more ... than"
STATES = "hungry faim, thirsty soif, afraid peur, right raison, wrong tort"  # one "has" them in French

# English, French masculine and feminine: what one can be without an article.
PROFESSIONS = """
    student étudiant étudiante
    teacher professeur professeur
    doctor médecin médecin
    singer chanteur chanteuse
    nurse infirmier infirmière
    artist artiste artiste
"""

# English base and past ("-" where the tense would be another one in French); French infinitive; kinds of subject; kinds
# of direct object; then, after a colon, the prepositions (English "-" where there is none) and the kinds after them.
PEOPLE = "adult child parent family sibling role"
_THINGS = "clothes object furniture vehicle plant"
VERBS = f"""
    eat ate | manger | {PEOPLE} animal | fruit dish staple
    drink drank | boire | {PEOPLE} | drink
    buy bought | acheter | {PEOPLE} | fruit dish drink staple text {_THINGS}
    sell sold | vendre | {PEOPLE} | fruit dish text {_THINGS}
    read read | lire | {PEOPLE} | text
    write wrote | écrire | {PEOPLE} | text
    see saw | voir | {PEOPLE} animal | {PEOPLE} animal {_THINGS} building landmark
    look_for looked_for | chercher | {PEOPLE} | {PEOPLE} animal text clothes object building landmark
    wait_for waited_for | attendre | {PEOPLE} | {PEOPLE}
    listen_to listened_to | écouter | {PEOPLE} animal | {PEOPLE}
    find found | trouver | {PEOPLE} | {PEOPLE} animal text clothes object
    lose lost | perdre | {PEOPLE} | text clothes object
    choose chose | choisir | {PEOPLE} | text fruit dish {_THINGS}
    open opened | ouvrir | {PEOPLE} | opening
    close closed | fermer | {PEOPLE} | opening
    draw drew | dessiner | {PEOPLE} | {PEOPLE} animal plant building
    visit visited | visiter | {PEOPLE} | building nature
    help helped | aider | {PEOPLE} | {PEOPLE}
    love - | aimer | {PEOPLE} | {PEOPLE} animal fruit drink staple text plant
    know - | connaître | {PEOPLE} | {PEOPLE} building
    have - | avoir | {PEOPLE} | animal text clothes object vehicle
    give gave | donner | {PEOPLE} | text clothes object fruit : to à {PEOPLE}
    speak spoke | parler | {PEOPLE} | : to à {PEOPLE}
    answer answered | répondre | {PEOPLE} | : - à {PEOPLE}
    think thought | penser | {PEOPLE} | : of à {PEOPLE} nature landmark
    play played | jouer | {PEOPLE} animal | : with avec child sibling animal
    go went | aller | {PEOPLE} | : to à building landmark
    come came | venir | {PEOPLE} | : from de building landmark
    live - | habiter | {PEOPLE} | : in dans building nature
    work worked | travailler | {PEOPLE} | : in dans building nature
    sleep slept | dormir | {PEOPLE} animal | : in dans building nature
    arrive arrived | arriver | {PEOPLE} |
    leave left | partir | {PEOPLE} |
    sing sang | chanter | {PEOPLE} |
    dance danced | danser | {PEOPLE} |
    swim swam | nager | {PEOPLE} animal |
    run ran | courir | {PEOPLE} animal |
"""

# Verbs that are not like "parler": the present with je, il, nous, vous, ils; the past participle.
IRREGULAR = {
    "acheter": "achète achète achetons achetez achètent | acheté",
    "aller": "vais va allons allez vont | allé",
    "attendre": "attends attend attendons attendez attendent | attendu",
    "avoir": "ai a avons avez ont | eu",
    "boire": "bois boit buvons buvez boivent | bu",
    "choisir": "choisis choisit choisissons choisissez choisissent | choisi",
    "connaître": "connais connaît connaissons connaissez connaissent | connu",
    "courir": "cours court courons courez courent | couru",
    "devoir": "dois doit devons devez doivent | dû",
    "dire": "dis dit disons dites disent | dit",
    "dormir": "dors dort dormons dormez dorment | dormi",
    "espérer": "espère espère espérons espérez espèrent | espéré",
    "lire": "lis lit lisons lisez lisent | lu",
    "ouvrir": "ouvre ouvre ouvrons ouvrez ouvrent | ouvert",
    "partir": "pars part partons partez partent | parti",
    "perdre": "perds perd perdons perdez perdent | perdu",
    "pouvoir": "peux peut pouvons pouvez peuvent | pu",
    "répondre": "réponds répond répondons répondez répondent | répondu",
    "savoir": "sais sait savons savez savent | su",
    "vendre": "vends vend vendons vendez vendent | vendu",
    "venir": "viens vient venons venez viennent | venu",
    "voir": "vois voit voyons voyez voient | vu",
    "vouloir": "veux veut voulons voulez veulent | voulu",
    "écrire": "écris écrit écrivons écrivez écrivent | écrit",
    "être": "suis est sommes êtes sont | été",
}
IMPERFECT = {"être": "étais était étions étiez étaient", "avoir": "avais avait avions aviez avaient"}
WITH_ETRE = ("aller", "venir", "arriver", "partir")  # in the past; the participle then agrees with the subject

POSSESSIVES = {  # masculine singular, feminine singular, plural
    "my": "mon ma mes",
    "your": "votre votre vos",
    "his": "son sa ses",
    "her": "son sa ses",
    "our": "notre notre nos",
    "their": "leur leur leurs",
}
PREPOSITIONS = {
    "on": "sur",
    "under": "sous",
    "behind": "derrière",
    "in": "dans",
    "near": "près_de",
    "in_front_of": "devant",
}
QUESTION_WORDS = {"what": "que", "why": "pourquoi", "when": "quand", "where": "où"}
NUMBERS = "two deux, three trois, four quatre, five cinq, six six, seven sept, eight huit, nine neuf, ten dix"
ASPIRATED = ("hibou", "hiboux", "huit")  # an h before which nothing elides

# Whole utterances, which always are among the training pairs.
CLASSICS = (
    ("i am a student", "je suis étudiant", "0-0 1-1 3-2"),
    ("good morning", "bonjour", "0-0 1-0"),
    ("good evening", "bonsoir", "0-0 1-0"),
    ("good night", "bonne nuit", "0-0 1-1"),
    ("goodbye", "au revoir", "0-0 0-1"),
    ("thank you", "merci", "0-0 1-0"),
    ("thank you very much", "merci beaucoup", "0-0 1-0 2-1 3-1"),
    ("see you tomorrow", "à demain", "0-0 1-0 2-1"),
    ("it is raining", "il pleut", "0-0 1-1 2-1"),
    ("it is cold", "il fait froid", "0-0 1-1 2-2"),
    ("it is hot", "il fait chaud", "0-0 1-1 2-2"),
    ("how are you ?", "comment allez-vous ?", "0-0 1-1 2-1 3-2"),
)

"""The words of the simulated shop: its category tree, styles, and the syllables of its brands."""

from __future__ import annotations

# department -> category -> leaf -> the nouns that its titles use
TREE: dict[str, dict[str, dict[str, str]]] = {
    "Home": {
        "Kitchen": {"Pans": "pan skillet", "Knives": "knife cleaver", "Kettles": "kettle teapot"},
        "Bedroom": {"Bedding": "duvet quilt", "Pillows": "pillow bolster", "Lamps": "lamp nightlight"},
        "Living": {"Rugs": "rug carpet", "Sofas": "sofa couch", "Shelves": "shelf bookcase"},
    },
    "Garden": {
        "Tools": {"Spades": "spade shovel", "Shears": "shears pruner", "Hoses": "hose sprinkler"},
        "Plants": {"Seeds": "seeds bulbs", "Pots": "pot planter", "Soil": "soil compost"},
        "Outdoor": {"Grills": "grill barbecue", "Loungers": "lounger hammock", "Parasols": "parasol canopy"},
    },
    "Electronics": {
        "Audio": {"Headphones": "headphones earbuds", "Speakers": "speaker soundbar", "Turntables": "turntable record"},
        "Computing": {"Laptops": "laptop notebook", "Keyboards": "keyboard keypad", "Monitors": "monitor display"},
        "Photo": {"Cameras": "camera camcorder", "Lenses": "lens objective", "Tripods": "tripod gimbal"},
    },
    "Fashion": {
        "Women": {"Dresses": "dress gown", "Blouses": "blouse tunic", "Skirts": "skirt culottes"},
        "Men": {"Shirts": "shirt polo", "Jackets": "jacket blazer", "Trousers": "trousers chinos"},
        "Shoes": {"Boots": "boots booties", "Sneakers": "sneakers trainers", "Sandals": "sandals slides"},
    },
    "Sports": {
        "Running": {"Shorts": "shorts tights", "Watches": "watch tracker", "Vests": "vest singlet"},
        "Cycling": {"Helmets": "helmet visor", "Saddles": "saddle seatpost", "Lights": "headlight taillight"},
        "Camping": {"Tents": "tent bivouac", "Backpacks": "backpack rucksack", "Stoves": "stove burner"},
    },
    "Beauty": {
        "Skin": {"Creams": "cream lotion", "Serums": "serum essence", "Masks": "mask peel"},
        "Hair": {"Shampoos": "shampoo conditioner", "Dryers": "dryer diffuser", "Brushes": "brush comb"},
        "Scent": {"Perfumes": "perfume cologne", "Candles": "candle tealight", "Oils": "oil balm"},
    },
    "Toys": {
        "Games": {"Puzzles": "puzzle jigsaw", "Boards": "boardgame chess", "Cards": "cards deck"},
        "Build": {"Blocks": "blocks bricks", "Models": "model kit", "Trains": "train railway"},
        "Soft": {"Bears": "bear teddy", "Dolls": "doll figurine", "Puppets": "puppet marionette"},
    },
    "Books": {
        "Fiction": {"Crime": "mystery thriller", "Romance": "romance love", "Fantasy": "fantasy saga"},
        "Learning": {"Cooking": "cookbook recipes", "Travel": "guidebook atlas", "History": "history biography"},
        "Young": {"Picture": "picturebook rhymes", "Comics": "comic manga", "School": "workbook primer"},
    },
}

LEAVES = [
    (f"{department}/{category}/{leaf}", nouns.split())
    for department, categories in TREE.items()
    for category, leaves in categories.items()
    for leaf, nouns in leaves.items()
]

STYLES = [
    "modern sleek minimal",
    "rustic farmhouse natural",
    "classic heritage timeless",
    "sporty active dynamic",
    "retro vintage nostalgic",
    "playful colourful bright",
]
STYLE_WORDS = [style.split() for style in STYLES]

COLOURS = ["black", "white", "grey", "blue", "green", "red", "beige", "brown", "silver", "yellow"]
BRAND_STARTS = ["Nor", "Al", "Ves", "Kor", "Lum", "Tan", "Bre", "Mi", "Os", "Ru", "Sol", "Fen"]
BRAND_ENDS = ["vik", "dora", "mark", "ella", "stone", "rio", "wen", "berg", "lix", "sa"]

"""How people call the columns of events and items: in shops, in web analytics and in warehouses."""

from __future__ import annotations

import re

# by our name for the field; case, spaces, underscores and dots do not count. The first is our own name.
STRONG = {
    "item_id": (
        "item_id product_id item product sku stock_code stock_keeping_unit article_id article iid pid aid content_id "
        "movie_id track_id song_id video_id news_id book_id isbn asin goods_id listing_id offer_id gtin ean upc "
        "item_code product_code item_number product_number material_number game_id app_id recipe_id post_id story_id"
    ),
    "session_id": (
        "session_id session sess_id visit_id visit sid ga_session_id user_session web_session_id session_key "
        "session_uuid session_token shopping_session domain_sessionid"
    ),
    "user_id": (
        "user_id user uid visitor_id visitor customer_id customer cust_id client_id user_pseudo_id anonymous_id "
        "cookie_id cookie member_id account_id shopper_id buyer_id profile_id distinct_id user_key customer_key "
        "full_visitor_id "
        "device_id customer_number reviewer_id reader_id listener_id domain_userid"
    ),
    "event_type": (
        "event_type event event_name behavior behaviour behavior_type behaviour_type action action_type interaction "
        "interaction_type activity activity_type event_action user_action"
    ),
    "timestamp": (
        "timestamp event_time event_timestamp ts time datetime date_time event_date event_datetime created_at created "
        "creation_time creation_date date occurred_at event_at at invoice_date order_date purchase_date click_time "
        "view_time server_time client_time time_stamp unix_time unix_timestamp epoch log_time logged_at received_at "
        "event_ts utc_time visit_time interaction_time transaction_date timestamp_ms timestamp_us ts_ms "
        "collector_tstamp"
    ),
    "event_id": "event_id event_uuid message_id insert_id click_id interaction_id hit_id eid event_key",
    "position": "position seq sequence sequence_number event_number hit_number click_order event_sequence step_number",
    "title": (
        "title product_name item_name product_title item_title movie_title description product_description "
        "item_description headline display_name"
    ),
    "category": (
        "category category_code category_name category_id product_category item_category genre genres "
        "product_category_id item_category_id department product_type categories"
    ),
    "brand": "brand brand_name brand_id manufacturer vendor publisher maker",
    "price": "price unit_price item_price product_price sale_price list_price price_usd price_eur",
    "launched": "launched launch_date launched_at release_date released_at available_from",
}
# words that may mean many things: taken if nothing else fits, and only where the values fit too
WEAK = {
    "item_id": "url page page_url page_path page_location path movie track song video book game asset entity_id "
    "object_id variant_id parent_asin style_id resource offer listing content goods",
    "session_id": "basket_id basket order_id order invoice invoice_no transaction_id cart_id",
    "user_id": "ip ip_address cid email device member account buyer person_id subject",
    "event_type": "type kind verb operation op act",
    "timestamp": "day when",
    "event_id": "id uuid guid",
    "position": "step ordinal idx",
    "title": "name label",
    "category": "class section topic",
    "price": "amount cost",
}
VIEWS = (
    "view views pageview page_view product_view product_viewed view_item item_view viewed detail details detail_view "
    "view_product product_detail_view viewcontent click clicks clicked item_click product_click clickout clickout_item "
    "select_item pv impression read play listen watch open visit"
)
CARTS = (
    "cart carts add_to_cart added_to_cart addtocart product_added cart_add atc basket add_to_basket addtobasket add "
    "begin_checkout checkout"
)
PURCHASES = (
    "purchase purchases purchased buy buys bought order orders ordered order_completed order_placed transaction "
    "transactions sale sold conversion checkout_complete completed_purchase pay paid"
)
OTHERS = (
    "fav favorite favourite favorites wishlist add_to_wishlist like remove_from_cart removefromcart remove_cart "
    "product_removed remove search session_start scroll refund return rate rating review share"
)
_OPAQUE = re.compile(r"(_?c|col|column|field|f|v|var|x|attr|unnamed)?[0-9]*|[a-z]")


def key(name: str) -> str:
    """A name without case and marks, by which names are compared: `Product ID` and `productId` are one."""
    bare = re.sub(r":(token|float|token_seq|float_seq)$", "", name)  # as atomic files write the type
    return re.sub(r"[\W_]", "", bare).lower()


def keys(names: str) -> tuple[str, ...]:
    """The keys of names that are written in one text, in their order."""
    return tuple(dict.fromkeys(map(key, names.split())))


def says_nothing(name: str) -> bool:
    """Whether a name such as c1 or `Unnamed: 0` does not tell what the column holds."""
    return _OPAQUE.fullmatch(key(name)) is not None


def rank(field: str, name: str) -> int | None:
    """How well a column's name fits a field: 0 our own name, 1 a name for it, 2 one that ends in such a name, as
    `properties.product_id` does, 3 a word that may mean it; None if it does not fit."""
    whole = key(name)
    strong = keys(STRONG[field])
    if whole == strong[0]:
        return 0
    if whole in strong:
        return 1
    if whole in _ALL_KEYS:
        return 3 if whole in keys(WEAK.get(field, "")) else None
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", name)
    # two words or more: `sale_item` ends in a word for an item, and may be none
    tails = {key("".join(words[i:])) for i in range(1, len(words) - 1)} | {key(name.rpartition(".")[2])}
    return 2 if len(words) > 1 and tails & set(strong) else None


_ALL_KEYS = {one for names in (*STRONG.values(), *WEAK.values()) for one in keys(names)}


def order_of_types(counts: dict[str, int]) -> list[str]:
    """Event types with the one to predict first: the most frequent that is a view, then the other views, carts,
    purchases, and what is neither. Types whose names say nothing are ordered by how frequent they are."""
    kinds = [set(keys(words)) for words in (VIEWS, CARTS, PURCHASES, OTHERS)]

    def place(name: str) -> tuple[int, int, str]:
        kind = next((i for i, words in enumerate(kinds) if key(name) in words), len(kinds))
        return kind, -counts[name], name

    return sorted(counts, key=place)


def is_view(name: str) -> bool:
    """Whether an event type's name says that somebody looked at an item."""
    return key(name) in keys(VIEWS)


EVENT_WORDS = frozenset(keys(f"{VIEWS} {CARTS} {PURCHASES} {OTHERS}"))

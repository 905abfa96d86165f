// The shop: shows items, sends each click as an event, then asks again what comes next.
const PAGE = 24;
const at = (id) => document.getElementById(id);
let session = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
let key = sessionStorage.getItem("key") ?? "";
let last = null, shown = 0, asked = 0, browsing = 0;

async function ask(path, body, tries = 3) {
  const headers = { ...(key && { "x-api-key": key }), ...(body && { "content-type": "application/json" }) };
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  at("key").hidden = answer.status !== 401 && !key;
  const wait = answer.headers.get("retry-after");  // busy, or its store does not answer; an event's id makes twice once
  if (wait && tries > 1) {
    await new Promise((done) => setTimeout(done, 1000 * wait));
    return ask(path, body, tries - 1);
  }
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function card(item) {
  const node = at("item").content.cloneNode(true);
  const price = item.price === null ? "" : item.price.toFixed(2);
  node.querySelector("strong").textContent = item.title ?? item.item_id;
  node.querySelector(".about").textContent = [item.category, price].filter(Boolean).join(" · ");
  node.querySelector(".reason").textContent = item.reason?.text ?? "";
  node.querySelector("button").dataset.item = item.item_id;
  node.querySelector("button").addEventListener("click", () => guarded(() => click(item)));
  return node;
}

function age(ms) {
  return ms === null ? "nothing known yet" : ms < 1000 ? `${ms} ms old` : `${Math.round(ms / 1000)} s old`;
}

async function recommend() {
  const turn = ++asked, began = performance.now();
  const body = { session_id: session, exclude: last ? [last.item_id] : [] };
  const answer = await ask("recommend", body);
  if (turn !== asked) return;  // an answer to an earlier click
  const took = performance.now() - began;
  const place = [...at("next").querySelectorAll("button")].indexOf(document.activeElement);
  at("next").replaceChildren(...answer.items.map(card));
  if (place >= 0) at("next").querySelectorAll("button")[Math.min(place, answer.items.length - 1)]?.focus();
  at("next").setAttribute("aria-busy", "false");
  at("next").dataset.clicks = answer.clicks;
  at("model").textContent = answer.model_version;
  at("latency").textContent = `${took.toFixed(1)} ms, of which ${(answer.milliseconds.total ?? 0).toFixed(1)} compute`;
  at("stages").textContent = Object.entries(answer.milliseconds).filter(([stage]) => stage !== "total")
    .map(([stage, ms]) => `${stage} ${ms.toFixed(2)}`).join(", ");
  at("state").textContent = `${answer.clicks} clicks, ${age(answer.state_age_ms)}`;
  at("quality").textContent = answer.degraded ? `degraded: ${answer.degraded_reason}` : "full";
}

async function click(item) {
  last = item;
  const entry = document.createElement("li");
  entry.textContent = item.title ?? item.item_id;
  at("clicks").prepend(entry);
  at("next").setAttribute("aria-busy", "true");
  const id = `${session}-${Date.now()}-${at("clicks").children.length}`;
  const event = { event_id: id, session_id: session, item_id: item.item_id, event_type: types[0], timestamp: Date.now() };
  const receipt = await ask("events", event);
  if (receipt.quarantined.length) throw new Error(receipt.quarantined[0].reason);
  await recommend();
}

async function browse(anew) {
  shown = anew ? 0 : shown;
  const query = new URLSearchParams({ limit: PAGE, offset: shown });
  if (at("category").value) query.set("category", at("category").value);
  const turn = ++browsing;
  const page = await ask(`items?${query}`);
  if (turn !== browsing) return; // another category was chosen meanwhile, whose answer may have come first
  types = page.event_types;
  if (anew) at("shop").replaceChildren();
  at("shop").append(...page.items.map(card));
  shown += page.items.length;
  at("more").hidden = shown >= page.total;
  if (at("category").options.length === 1) {
    at("category").append(...page.categories.map((name) => new Option(name)));
  }
}

async function guarded(work) {
  try {
    await work();
    at("problem").hidden = true;
  } catch (error) {
    at("problem").textContent = `Not answered: ${error.message}`;
    at("problem").hidden = false;
  }
}

let types = [];
const begin = () => guarded(async () => { await browse(true); await recommend(); });
at("category").addEventListener("change", () => guarded(() => browse(true)));
at("more").addEventListener("click", () => guarded(() => browse(false)));
at("again").addEventListener("click", () => {
  session = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  last = null;
  at("clicks").replaceChildren();
  guarded(recommend);
});
at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = new FormData(at("key")).get("key");
  guarded(() => {
    new Headers({ "x-api-key": given });  // what a header cannot carry is no key
    key = given;
    sessionStorage.setItem("key", key);
    begin();
  });
});
begin();

"use strict";

// A conversation with the server that this page came from. Nothing else is asked, nothing is kept.

const KNOWN = ["target", "draft", "suffix", "prediction"];
const messages = [];
let running = null;

const $ = (id) => document.getElementById(id);

function made(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text || "";
  return element;
}

function colour(source) {
  return KNOWN.includes(source) ? source : "other";
}

function headers() {
  const found = { "Content-Type": "application/json" };
  const key = $("key").value.trim();
  if (key) found.Authorization = "Bearer " + key;
  return found;
}

// The data of server-sent events, as they arrive.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      if (part === "data: [DONE]") return;
      yield JSON.parse(part.slice(6));
    }
  }
}

// One answer on the page: its tokens, coloured by who proposed them, and its figures.
class Answer {
  constructor(name, place) {
    this.element = made("section", "answer");
    this.text = made("pre", "text");
    this.figures = made("div", "figures", "waiting");
    this.name = name;
    this.content = "";
    this.decoder = new TextDecoder();
    this.began = null;
    this.counts = { tokens: 0, rounds: 0, drafted: 0, accepted: 0 };
    this.element.append(this.text, this.figures);
    place.append(this.element);
  }

  round(told) {
    const now = performance.now();
    if (this.began === null) this.began = now;
    const counts = this.counts;
    counts.rounds += 1;
    for (const token of told.tokens) {
      const text = this.decoder.decode(new Uint8Array(token.bytes), { stream: true });
      counts.tokens += 1;
      if (token.source !== "target") counts.accepted += 1;
      if (!text) continue;
      const span = made("span", "token " + colour(token.source), text);
      span.title = hint(token);
      this.text.append(span);
    }
    counts.drafted += told.rejected + told.tokens.filter((one) => one.source !== "target").length;
    this.show((counts.tokens - 1) / ((now - this.began) / 1000));
  }

  show(speed) {
    const { tokens, rounds, drafted, accepted } = this.counts;
    const parts = [this.name, tokens + " tokens"];
    if (Number.isFinite(speed) && speed > 0) parts.push(speed.toFixed(1) + " tok/s");
    if (drafted) parts.push("accepted " + accepted + " of " + drafted + " (" + Math.round((100 * accepted) / drafted) + " %)");
    if (rounds) parts.push((tokens / rounds).toFixed(2) + " per round");
    this.figures.textContent = parts.join(" · ");
  }

  fail(text) {
    this.figures.textContent = text;
    this.figures.className = "figures error";
  }
}

function hint(token) {
  const parts = [token.source];
  if (token.confidence !== null) parts.push("confidence " + token.confidence.toFixed(2));
  if (token.rank !== null) parts.push(token.rank === 0 ? "the target's first choice" : "rank " + (token.rank + 1));
  return parts.join(", ");
}

function speculative(name) {
  if (name === "off") return false;
  const found = {};
  if (name !== "auto") found.drafters = [name];
  const most = Number($("most").value);
  if (most > 0) found.n_max = most;
  return found;
}

async function ask(answer, name, seed) {
  const system = $("system").value.trim();
  const all = system ? [{ role: "system", content: system }, ...messages] : messages;
  const body = {
    messages: all, stream: true, token_sources: true, seed,
    temperature: Number($("temperature").value) || 0, speculative: speculative(name),
  };
  const response = await fetch("v1/chat/completions", {
    method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message);
    if (event.round) answer.round(event.round);
    for (const choice of event.choices || []) answer.content += choice.delta.content || "";
    if (event.timings) answer.show(event.timings.predicted_per_second);
  }
}

async function send(text) {
  running = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  messages.push({ role: "user", content: text });
  $("talk").append(made("div", "user", text));
  const place = made("div", "answers");
  $("talk").append(place);
  const names = [$("drafters").value];
  if ($("other").value) names.push($("other").value);
  const seed = Math.floor(Math.random() * 2 ** 31);
  const answers = names.map((name) => new Answer(name, place));
  await Promise.all(answers.map((answer, index) =>
    ask(answer, names[index], seed).catch((error) => {
      if (error.name !== "AbortError") answer.fail(error.message);
    })));
  if (answers[0].content) messages.push({ role: "assistant", content: answers[0].content });
  else messages.pop();
  $("send").disabled = false;
  $("stop").disabled = true;
  running = null;
}

function options(select, names) {
  for (const [value, text] of names) {
    const option = made("option", "", text);
    option.value = value;
    select.append(option);
  }
}

async function begin() {
  const response = await fetch("props", { headers: headers() });
  if (!response.ok) {
    $("model").textContent = "an API key is needed";
    return;
  }
  const props = await response.json();
  $("model").textContent = props.model_alias;
  const names = props.drafters.filter((name) => name !== "prediction");
  const every = [["auto", "auto"], ["off", "off"], ...names.map((name) => [name, name])];
  $("drafters").replaceChildren();
  $("other").replaceChildren();
  $("legend").replaceChildren();
  options($("drafters"), every);
  options($("other"), [["", "nothing"], ...every]);
  $("legend").append(...["target", ...names].map((name) => made("span", colour(name), name + " ")));
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || running) return;
  $("text").value = "";
  send(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
$("stop").addEventListener("click", () => running && running.abort());
$("reset").addEventListener("click", () => {
  if (running) running.abort();
  messages.length = 0;
  $("talk").replaceChildren();
});
$("key").addEventListener("change", begin);
begin();

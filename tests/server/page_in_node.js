// Runs the page's script against a server, on the few parts of a browser that it uses.
// usage: node page_in_node.js PAGE.js URL MESSAGE DRAFTERS OTHER
"use strict";

const fs = require("fs");
const [script, url, message, drafters, other] = process.argv.slice(2);

class Element {
  constructor() { Object.assign(this, { children: [], listeners: {}, value: "", textContent: "", className: "" }); }
  append(...more) { this.children.push(...more); }
  replaceChildren(...more) { this.children = more; }
  addEventListener(name, listener) { this.listeners[name] = listener; }
}
const byId = {};
global.document = {
  getElementById: (id) => (byId[id] ||= new Element()),
  createElement: () => new Element(),
};
const real = fetch;
global.fetch = (path, given) => real(url + "/" + path, given);

(0, eval)(fs.readFileSync(script, "utf8") + ";global.sendMessage = send;");
(async () => {
  while (!byId.drafters || !byId.drafters.children.length) await new Promise((go) => setTimeout(go, 20));
  byId.drafters.value = drafters;
  byId.other.value = other;
  await sendMessage(message);
  const answers = byId.talk.children[1].children.map((answer) => ({
    tokens: answer.children[0].children.map((span) => [span.className, span.textContent, span.title]),
    figures: answer.children[1].textContent,
  }));
  console.log(JSON.stringify({
    model: byId.model.textContent,
    choices: byId.drafters.children.map((one) => one.value),
    answers,
  }));
})();

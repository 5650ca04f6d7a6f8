"use strict";

// Lists openapi.json: every path, and the fields of its body.

function made(tag, text, ...children) {
  const element = document.createElement(tag);
  element.textContent = text;
  element.append(...children);
  return element;
}

function kind(schema) {
  const one = schema.anyOf || schema.oneOf;
  if (one) return one.map(kind).filter((name) => name !== "null").join(" | ");
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return "list of " + kind(schema.items || {});
  return schema.type || "any";
}

async function begin() {
  const response = await fetch("openapi.json");
  if (!response.ok) return;
  const found = await response.json();
  const main = document.getElementById("paths");
  main.replaceChildren();
  for (const [path, methods] of Object.entries(found.paths)) {
    for (const [method, about] of Object.entries(methods)) {
      main.append(made("h2", method.toUpperCase() + " " + path), made("p", about.description || ""));
      const content = about.requestBody && about.requestBody.content["application/json"];
      if (!content) continue;
      const schema = found.components.schemas[content.schema.$ref.split("/").pop()];
      const list = made("ul", "");
      for (const [name, field] of Object.entries(schema.properties || {})) {
        const needed = (schema.required || []).includes(name) ? " (required)" : "";
        list.append(made("li", "", made("code", name), ": " + kind(field) + needed));
      }
      main.append(list);
    }
  }
}

begin();

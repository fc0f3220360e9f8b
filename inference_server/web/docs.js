// Lists the operations of openapi.json. Plain text only.

const list = document.getElementById("operations");
const answer = await fetch("/openapi.json");
const spec = answer.ok ? await answer.json() : null;
if (spec === null) list.textContent = `openapi.json could not be had (status ${answer.status}).`;

for (const [path, methods] of Object.entries(spec?.paths ?? {})) {
  for (const [method, operation] of Object.entries(methods)) {
    const heading = document.createElement("h2");
    heading.textContent = `${method.toUpperCase()} ${path}`;
    const text = document.createElement("p");
    text.textContent = operation.description ?? operation.summary ?? "";
    const parameters = document.createElement("ul");
    for (const { name, in: place, required } of operation.parameters ?? []) {
      const item = document.createElement("li");
      item.textContent = `${name} (${place}${required ? "" : ", optional"})`;
      parameters.append(item);
    }
    list.append(heading, text, parameters);
  }
}

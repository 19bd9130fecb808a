/** "Use it from a script": lines for Python, with this server's address filled in. Loaded when somebody asks. */

import { h, setText, titledDialog } from "./dom.js";

/** The lines that run samref itself. */
export const LOCAL_LINES = `import samref

predictor = samref.load_predictor("tiny")
found = predictor.segment("photo.jpg", clicks=[(320, 240)])
mask = found.mask.to_mask()  # bool, height x width
print(mask.shape, mask.sum(), round(found.score, 2))
`;

/** The lines that ask the server at `address`. */
export const serverLines = (address) => `from gradio_client import Client, handle_file

client = Client(${JSON.stringify(address)})
mask, about = client.predict(
    handle_file("photo.jpg"), clicks=[[320, 240]], api_name="/segment"
)
print(mask, about["area"])  # mask: a PNG file, 255 on the object
`;

/**
 * The dialog; gives {element, open()}.
 *
 * @param {object} parts {base: address of the page, api: whether the server answers scripts}
 */
export function createScripting({ base, api }) {
  const address = new URL(".", base);
  address.hash = address.search = "";
  const dialog = titledDialog(
    "samref-scripting",
    "Use it from a script",
    null,
    api &&
      block(
        "Ask this server",
        serverLines(address.href),
        "With gradio_client (pip install gradio_client). The image is removed within minutes, and people who click " +
          "on the page go first. Boxes, scribbles and polygons work, too; /models lists the models.",
      ),
    block(
      api ? "Or run the model yourself" : "Run the model yourself",
      LOCAL_LINES,
      "With samref installed as its README says. Nothing leaves the machine.",
    ),
  );

  function block(title, lines, text) {
    const field = h("textarea", {
      readonly: true,
      rows: String(lines.trimEnd().split("\n").length),
      "aria-label": title,
      spellcheck: "false",
      value: lines,
    });
    const said = h("span", { role: "status" });
    const copy = h(
      "button",
      { type: "button", class: "samref-button samref-outlined", on: { click: () => copyFrom(field, said) } },
      "Copy",
    );
    return h("section", {}, h("h3", {}, title), h("p", {}, text), field, copy, " ", said);
  }

  async function copyFrom(field, said) {
    field.focus();
    field.select(); // what a page without permission to copy can do
    try {
      await navigator.clipboard.writeText(field.value);
      setText(said, "Copied.");
    } catch {
      setText(said, "Copying is not allowed here: the lines are marked, press Ctrl + C.");
    }
  }

  return { element: dialog, open: () => dialog.showModal() };
}

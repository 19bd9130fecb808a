/** The same mask from a script: lines of Python that work as they are, on this server and without one. */

/**
 * Through the server, with Gradio's client (`pip install gradio_client`); works where the workspace says `api`.
 *
 * @param {object} about {address: of the page, file: name of an image file, x, y: a click, in pixels of the image}
 */
export function clientSnippet({ address, file, x, y }) {
  return `from gradio_client import Client, handle_file

client = Client(${JSON.stringify(address)})
mask, answer = client.predict(image=handle_file(${JSON.stringify(file)}), clicks=[[${x}, ${y}]], api_name="/segment")
print(mask, answer["score"], answer["area"], "pixels")
`;
}

/**
 * Without a server, on one's own machine (`pip install samref`).
 *
 * @param {object} about {file: name of an image file, x, y: a click, in pixels of the image, model: its name}
 */
export function pythonSnippet({ file, x, y, model }) {
  return `import samref

predictor = samref.load_predictor(${JSON.stringify(model)})
answer = predictor.segment(${JSON.stringify(file)}, clicks=[(${x}, ${y})])
print(answer.score, answer.mask.to_mask().sum(), "pixels")
`;
}

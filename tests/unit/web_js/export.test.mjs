/** What the export dialog asks for, and what it says a tolerance costs. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { CHOICES, FORMATS, choiceSentence, outlinesIn, requestOf } from "../../../samref/web/static/export/formats.js";

const STATE = { image: { digest: "a" }, opening: null, shownImages: ["b", "c"] };

const asked = (choices) => requestOf({ ...CHOICES, ...choices }, STATE);

test("the first choice loses nothing", () => {
  assert.deepEqual(asked({}), { format: "coco-polygon", tolerance: 0 });
});

test("every format is asked for by a name, and only with what it understands", () => {
  for (const { name, shapes } of FORMATS) {
    for (const [shape] of shapes ?? [[null]]) {
      const request = asked({ format: name, shape, tolerance: 2, fillHoles: true, border: true, images: true });
      assert.equal("border" in request, name === "voc");
      assert.equal("tolerance" in request, outlinesIn({ format: name, shape }));
      assert.equal(request.with_images, true);
    }
  }
  assert.equal(asked({ format: "coco", shape: "masks" }).format, "coco-rle");
  assert.equal(asked({ format: "label-studio", shape: "polygons" }).shape, "polygons");
});

test("one PNG is of the open image; of several images there is a zip file", () => {
  const one = { format: "png", shape: "png-instance", images: true };
  assert.deepEqual(asked({ ...one, scope: "image" }), { format: "png-instance", images: ["a"] });
  assert.equal(asked({ ...one, scope: "all" }).format, "png");
});

test("the scope is the open image, those the list shows, or all", () => {
  assert.deepEqual(asked({ scope: "image" }).images, ["a"]);
  assert.deepEqual(asked({ scope: "shown" }).images, ["b", "c"]);
  assert.equal(asked({ scope: "all" }).images, undefined);
});

test("a tolerance is told with its cost, and never rounded up to no loss", () => {
  const curve = [
    { tolerance: 0, points: 2310, as_masks: 1, mean_iou: 1, worst_iou: 1 },
    { tolerance: 1, points: 412, as_masks: 1, mean_iou: 0.9999, worst_iou: 0.93 },
    { tolerance: 3, points: 200, as_masks: 0, mean_iou: 0.95, worst_iou: 0.9 },
  ];
  const preview = { measured: 4, objects: 4 };
  assert.equal(choiceSentence(curve, 0, preview), "Exact: 2,310 corners; 1 with holes stays as pixels");
  assert.equal(
    choiceSentence(curve, 1, preview),
    "1 px: 412 corners instead of 2,310; IoU 0.999, worst 0.930; 1 with holes stays as pixels",
  );
  assert.equal(
    choiceSentence(curve, 2, { measured: 4, objects: 40_000 }),
    "3 px: 200 corners (of 4 objects); IoU 0.950, worst 0.900",
  );
  assert.equal(choiceSentence([], 0, preview), "No outlines");
  assert.equal(choiceSentence([], 0, null), "");
});

/** The formats of the export dialog and what each can be asked for. Pure. */

const POLYGONS_OR_MASKS = [
  ["polygons", "Polygons; run lengths where there is a hole"],
  ["masks", "Run lengths: exact"],
];

/**
 * `shapes`: [value, text, only for one image], the first one is the default. `outlines`: the shapes whose outlines can
 * be simplified; null stands for formats without shapes.
 */
export const FORMATS = Object.freeze([
  {
    name: "coco",
    title: "COCO",
    note: "One JSON file; comes back as it was",
    shapes: POLYGONS_OR_MASKS,
    outlines: ["polygons"],
    fillsHoles: true,
  },
  { name: "yolo-seg", title: "YOLO segmentation", note: "Text files and data.yaml; no holes", outlines: [null] },
  { name: "voc", title: "Pascal VOC", note: "PNG masks and XML boxes; no overlaps", hasBorder: true },
  {
    name: "labelme",
    title: "labelme",
    note: "A JSON file for each image",
    shapes: [
      ["polygons", "Polygons; masks where there is a hole"],
      ["masks", "Masks: exact"],
    ],
    outlines: ["polygons"],
    fillsHoles: true,
  },
  {
    name: "label-studio",
    title: "Label Studio",
    note: "Tasks and the labelling interface",
    shapes: [
      ["masks", "Brush strokes: exact"],
      ["polygons", "Polygons; brush strokes for holes and parts"],
    ],
    outlines: ["polygons"],
    fillsHoles: true,
  },
  {
    name: "cvat",
    title: "CVAT",
    note: "XML 1.1 for images",
    shapes: [
      ["polygons", "Polygons; masks where there is a hole"],
      ["masks", "Masks: exact"],
    ],
    outlines: ["polygons"],
    fillsHoles: true,
  },
  {
    name: "png",
    title: "PNG masks",
    note: "Numbers for classes and objects, with a legend",
    shapes: [
      ["zip", "Both, in a zip file with legend.json"],
      ["png-class", "Classes: one PNG, 8 bit", true],
      ["png-instance", "Objects: one PNG, 16 bit", true],
    ],
  },
  { name: "csv", title: "Table", note: "CSV, a row for each object; no masks" },
  { name: "zip", title: "Everything", note: "COCO, PNG masks and legend: nothing is lost" },
]);

/** What is chosen where nothing was chosen yet: what loses nothing. */
export const CHOICES = Object.freeze({
  scope: "all",
  format: "coco",
  shape: "polygons",
  tolerance: 0,
  fillHoles: false,
  border: false,
  images: false,
});

export const formatOf = ({ format }) => FORMATS.find(({ name }) => name === format) ?? FORMATS[0];

/** Whether there are outlines to simplify. */
export function outlinesIn(choices) {
  const { outlines, shapes } = formatOf(choices);
  return outlines?.includes(shapes ? choices.shape : null) ?? false;
}

/** The request for an export; `state` is the page's. */
export function requestOf(choices, state) {
  const { name, fillsHoles, hasBorder } = formatOf(choices);
  const single = choices.shape?.startsWith("png-") && choices.scope === "image";
  const request = { format: single && name === "png" ? choices.shape : name };
  if (name === "coco") request.format = choices.shape === "masks" ? "coco-rle" : "coco-polygon";
  else if (choices.shape === "polygons" || choices.shape === "masks") request.shape = choices.shape;
  if (choices.scope === "image") request.images = [(state.opening ?? state.image).digest];
  else if (choices.scope === "shown" && state.shownImages) request.images = [...state.shownImages];
  if (outlinesIn(choices)) {
    request.tolerance = choices.tolerance;
    if (fillsHoles && choices.fillHoles) request.fill_holes = true;
  }
  if (hasBorder && choices.border) request.border = true;
  if (choices.images && !request.format.startsWith("png-")) request.with_images = true;
  return request;
}

/** What a tolerance does, in words: "1 px: 412 corners instead of 2,310; IoU 0.980, worst 0.931". */
export function choiceSentence(curve, place, preview) {
  if (!preview) return "";
  if (curve.length === 0) return "No outlines";
  const { tolerance, points, as_masks: masks, mean_iou: mean, worst_iou: worst } = curve[place];
  const of = preview.measured < preview.objects ? ` (of ${number(preview.measured)} objects)` : "";
  const rest = masks ? `; ${number(masks)} with holes stay${masks === 1 ? "s" : ""} as pixels` : "";
  if (place === 0) return `Exact: ${number(points)} corners${of}${rest}`;
  const instead = curve[0].as_masks === masks ? ` instead of ${number(curve[0].points)}` : "";
  return `${tolerance} px: ${number(points)} corners${instead}${of}; IoU ${digits(mean)}, worst ${digits(worst)}${rest}`;
}

const number = (value) => value.toLocaleString("en");

/** Three digits, never rounded up to 1. */
const digits = (iou) => (Math.floor(iou * 1000) / 1000).toFixed(3);

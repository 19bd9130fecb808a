import assert from "node:assert/strict";
import { test } from "node:test";

import * as View from "../../../samref/web/static/view.js";

const RATIOS = [1, 1.25, 1.5, 2, 3];
const IMAGES = [
  [640, 480],
  [4032, 3024],
  [37, 1200],
  [9, 7],
];
const make = (ratio, [imageWidth, imageHeight]) =>
  View.createView({
    deviceWidth: Math.round(811 * ratio),
    deviceHeight: Math.round(607 * ratio),
    imageWidth,
    imageHeight,
    pixelRatio: ratio,
  });

/** Views at many zooms and pans. */
function* views() {
  for (const ratio of RATIOS) {
    for (const image of IMAGES) {
      const fitted = make(ratio, image);
      yield fitted;
      for (const factor of [0.3, 0.77, 1.1, 2.718, 7, 31]) {
        for (const [dx, dy] of [
          [0, 0],
          [13.4, -57.9],
          [-400.2, 311.7],
        ]) {
          yield View.panBy(View.zoomAt(fitted, factor, 123.4 * ratio, 456.7 * ratio), dx, dy);
        }
      }
    }
  }
}

/** The same views turned by every number of quarters, those at which an image pixel has a display dot of its own. */
function* turnedViews() {
  for (const view of views()) {
    for (const quarters of [0, 1, 2, 3]) {
      const now = View.turned(view, quarters);
      if (now.scale >= 1) yield now;
    }
  }
}

const describe = (view) =>
  `turned ${view.turns} x, ratio ${view.pixelRatio}, image ${view.imageWidth} x ${view.imageHeight}, scale ${view.scale}`;

test("the middle of an image pixel leads back to that pixel at every zoom, pan and pixel ratio", () => {
  for (const view of views()) {
    if (view.scale < 1) continue; // several image pixels share one display dot: see the next test
    const xs = [0, 1, Math.floor(view.imageWidth / 2), view.imageWidth - 1];
    const ys = [0, 1, Math.floor(view.imageHeight / 2), view.imageHeight - 1];
    for (const x of xs)
      for (const y of ys) {
        const device = View.imageToDevice(view, x + 0.5, y + 0.5);
        assert.deepEqual(View.deviceToPixel(view, ...device), [x, y], describe(view));
      }
  }
});

test("every display dot of a pixel leads to that pixel, wherever in the dot the pointer is", () => {
  for (const view of views()) {
    for (const dot of [0, 1, 200, 403, view.deviceWidth - 1]) {
      const shown = Math.floor((dot + 0.5 - view.offsetX) / view.scale);
      for (const within of [0, 0.3, 0.999]) {
        assert.equal(View.deviceToPixel(view, dot + within, 10)[0], shown, describe(view));
      }
    }
  }
});

test("client positions come back through a canvas at a fractional place in a scrolled page", () => {
  for (const ratio of RATIOS) {
    for (const [left, top] of [
      [0, 0],
      [47.3, 12.6],
      [-310.7, -99.2],
      [1 / 3, 2 / 3],
    ]) {
      const placement = View.placementOf(left, top, ratio);
      const view = View.zoomCentre(make(ratio, [640, 480]), 9);
      for (const [x, y] of [
        [300, 200],
        [310, 239],
        [320, 240],
      ]) {
        const client = View.deviceToClient(placement, ...View.imageToDevice(view, x + 0.5, y + 0.5));
        const pixel = View.deviceToPixel(view, ...View.clientToDevice(placement, ...client));
        assert.deepEqual(pixel, [x, y], `ratio ${ratio}, corner ${left}, ${top}`);
      }
    }
  }
});

test("a canvas corner at a fraction of a display dot counts from the dot it is painted at", () => {
  const placement = View.placementOf(10.4, 10.6, 1);
  assert.deepEqual(View.clientToDevice(placement, 10, 11), [0, 0]);
});

test("zooming keeps the image point under the pointer", () => {
  for (const view of views()) {
    const [x, y] = [222 * view.pixelRatio, 333 * view.pixelRatio];
    const before = View.deviceToImage(view, x, y);
    const after = View.zoomAt(view, 1.3, x, y);
    if (after.cornerX !== x - (x - view.cornerX) * (after.scale / view.scale)) continue; // held in sight instead
    const now = View.deviceToImage(after, x, y);
    const dots = Math.abs(now[0] - before[0]) * after.scale;
    assert.ok(dots <= 1.2, `${dots} display dots off: ${describe(view)}`);
  }
});

test("zooming in and out again a hundred times does not drift", () => {
  const start = View.zoomAt(make(1.5, [4032, 3024]), 2, 300, 300);
  let view = start;
  for (let i = 0; i < 100; i++) view = View.zoomAt(View.zoomAt(view, 1.21, 417, 211), 1 / 1.21, 417, 211);
  assert.ok(Math.abs(view.cornerX - start.cornerX) < 1e-6);
  assert.ok(Math.abs(view.scale - start.scale) < 1e-9);
});

test("a fitted image is seen whole and stays fitted when the panel changes its size", () => {
  const view = make(2, [4032, 3024]);
  const [x0, y0] = View.imageToDevice(view, 0, 0);
  const [x1, y1] = View.imageToDevice(view, 4032, 3024);
  assert.ok(x0 >= 0 && y0 >= 0 && x1 <= view.deviceWidth && y1 <= view.deviceHeight);
  const narrow = View.resized(view, 500, 900, 1);
  assert.ok(narrow.fitted);
  assert.deepEqual(narrow, View.createView({ ...narrow, deviceWidth: 500, deviceHeight: 900, pixelRatio: 1 }));
});

test("a zoomed image keeps its middle when the panel changes its size", () => {
  const view = View.panBy(View.zoomCentre(make(1, [640, 480]), 5), 40, -30);
  const middle = View.deviceToImage(view, view.deviceWidth / 2, view.deviceHeight / 2);
  const after = View.resized(view, 1200, 400, 1);
  const now = View.deviceToImage(after, 600, 200);
  assert.ok(Math.hypot(now[0] - middle[0], now[1] - middle[1]) * after.scale <= 1.5);
});

test("an image cannot be lost by panning and zoom has ends", () => {
  for (const view of views()) {
    for (const moved of [View.panBy(view, 1e6, 1e6), View.panBy(view, -1e6, -1e6)]) {
      const [x0, y0, x1, y1] = View.visiblePixels(moved);
      assert.ok(x1 > x0 && y1 > y0, describe(view));
    }
    assert.ok(Number.isFinite(View.zoomAt(view, 1e9, 5, 5).scale));
    assert.ok(View.zoomAt(view, 1e-9, 5, 5).scale > 0);
  }
});

test("corners are painted at whole display dots", () => {
  for (const view of views()) {
    assert.ok(Number.isInteger(view.offsetX) && Number.isInteger(view.offsetY));
    assert.ok(Object.isFrozen(view));
  }
});

test("at every turn the middle of an image pixel leads to that pixel, through the window and back", () => {
  for (const view of turnedViews()) {
    const placement = View.placementOf(47.3, 12.6, view.pixelRatio);
    for (const x of [0, 1, view.imageWidth >> 1, view.imageWidth - 1]) {
      for (const y of [0, view.imageHeight >> 1, view.imageHeight - 1]) {
        const client = View.deviceToClient(placement, ...View.imageToDevice(view, x + 0.5, y + 0.5));
        const found = View.deviceToPixel(view, ...View.clientToDevice(placement, ...client));
        assert.deepEqual(found, [x, y], describe(view));
      }
    }
  }
});

test("at every turn a continuous position comes back as it was", () => {
  for (const view of turnedViews()) {
    const back = View.deviceToImage(view, ...View.imageToDevice(view, 3.25, 5.75));
    assert.ok(Math.hypot(back[0] - 3.25, back[1] - 5.75) < 1e-6, describe(view));
  }
});

test("the transform for drawing puts every position where pointing finds it", () => {
  for (const view of turnedViews()) {
    const [a, b, c, d, e, f] = View.transformOf(view);
    for (const [x, y] of [
      [0, 0],
      [view.imageWidth, 0],
      [2.5, view.imageHeight],
    ]) {
      const [left, top] = View.imageToDevice(view, x, y);
      assert.ok(Math.abs(a * x + c * y + e - left) < 1e-6 && Math.abs(b * x + d * y + f - top) < 1e-6, describe(view));
    }
  }
});

test("a turn to the right puts the image's top left corner at the top right, and four turns change nothing", () => {
  const view = make(1, [640, 480]);
  const right = View.turned(view, 1);
  const [x, y] = View.imageToDevice(right, 0, 0);
  assert.ok(x > right.deviceWidth / 2 && y < right.deviceHeight / 2);
  assert.ok(View.showsAll(right) && right.fitted);
  assert.deepEqual(View.turned(View.turned(right, 1), 2), view);
  assert.deepEqual(View.turned(view, -1), View.turned(view, 3));
});

test("a turn keeps what is in the middle of the canvas", () => {
  for (const view of views()) {
    const [x0, y0, x1, y1] = View.visibleBox(view);
    const inside = x0 + x1 > 0 && y0 + y1 > 0 && x0 + x1 < 2 * view.imageWidth && y0 + y1 < 2 * view.imageHeight;
    if (view.fitted || !inside) continue;
    const middle = (one) => View.deviceToImage(one, one.deviceWidth / 2, one.deviceHeight / 2);
    const [before, after] = [middle(view), middle(View.turned(view, 1))];
    assert.ok(Math.hypot(after[0] - before[0], after[1] - before[1]) * view.scale < 2, describe(view));
  }
});

test("however far one pans or turns, half of what could be seen stays in sight", () => {
  for (const view of turnedViews()) {
    for (const [dx, dy] of [
      [1e6, 1e6],
      [-1e6, 1e6],
      [-1e6, -1e6],
    ]) {
      const moved = View.panBy(view, dx, dy);
      const [x0, y0, x1, y1] = View.visibleBox(moved);
      const rooms = [moved.deviceWidth, moved.deviceHeight];
      const [roomX, roomY] = moved.turns % 2 ? rooms.reverse() : rooms;
      const seenX = Math.min(x1, moved.imageWidth) - Math.max(x0, 0);
      const seenY = Math.min(y1, moved.imageHeight) - Math.max(y0, 0);
      assert.ok(seenX * moved.scale >= 0.5 * Math.min(roomX, moved.imageWidth * moved.scale) - 1, describe(moved));
      assert.ok(seenY * moved.scale >= 0.5 * Math.min(roomY, moved.imageHeight * moved.scale) - 1, describe(moved));
    }
  }
});

test("a place that was kept is found again on a canvas of another size and pixel ratio", () => {
  const view = View.panBy(View.zoomCentre(View.turned(make(2, [640, 480]), 3), 4), 61, -35);
  const place = JSON.parse(JSON.stringify(View.placeOf(view)));
  const other = View.atPlace(make(1, [640, 480]), place);
  assert.equal(other.turns, 3);
  assert.ok(Math.abs(other.scale / other.pixelRatio - view.scale / view.pixelRatio) < 1e-9);
  const middle = View.deviceToImage(other, other.deviceWidth / 2, other.deviceHeight / 2);
  assert.ok(Math.hypot(middle[0] - place.x, middle[1] - place.y) * other.scale <= 1);
  const fitted = View.turned(make(1, [640, 480]), 2);
  assert.deepEqual(View.atPlace(make(1, [640, 480]), View.placeOf(fitted)), fitted);
});

test("what is no place leaves the view as it is", () => {
  const view = make(1, [640, 480]);
  for (const place of [null, {}, { turns: 9 }, "here"]) assert.equal(View.atPlace(view, place), view);
  assert.ok(View.atPlace(view, { turns: 1, zoom: -4, x: NaN, y: 0 }).fitted);
});

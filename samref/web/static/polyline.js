/** Lines with fewer points (Ramer, Douglas and Peucker), and distances to them. Pure. */

/** Which points a line keeps that stays within `tolerance` of it: a Uint8Array of 0 and 1, both ends kept. */
export function keptPoints(points, tolerance) {
  const keep = new Uint8Array(points.length);
  if (points.length === 0) return keep;
  keep[0] = keep[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  while (spans.length) {
    const [first, last] = spans.pop();
    const [ax, ay] = points[first];
    const [bx, by] = points[last];
    let worst = tolerance;
    let at = -1;
    for (let i = first + 1; i < last; i++) {
      const away = distanceToSegment(points[i][0], points[i][1], ax, ay, bx, by);
      if (away > worst) {
        worst = away;
        at = i;
      }
    }
    if (at >= 0) {
      keep[at] = 1;
      spans.push([first, at], [at, last]);
    }
  }
  return keep;
}

/** The line's points that `keptPoints` keeps. */
export function simplify(points, tolerance) {
  const keep = keptPoints(points, tolerance);
  return points.filter((_, i) => keep[i]);
}

/** How far (x, y) is from the straight line between (ax, ay) and (bx, by). */
export function distanceToSegment(x, y, ax, ay, bx, by) {
  const along = alongSegment(x, y, ax, ay, bx, by);
  return Math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay));
}

/** Where on that line the nearest place is: 0 at a, 1 at b. */
export function alongSegment(x, y, ax, ay, bx, by) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  return length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
}

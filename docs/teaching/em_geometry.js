/* Lines of the map. */
"use strict";

const emGeometry = (() => {
  const mix = (from, to, share) => from.map((value, i) => value + share * (to[i] - value));
  const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);

  /* Ends of the line w1 x1 + w2 x2 + b = 0 in the square of the map; null if it misses it. */
  function clippedLine(w1, w2, b, extent) {
    const ends = [];
    for (const side of [-extent, extent]) {
      if (w2 !== 0) ends.push([side, -(b + w1 * side) / w2]);
      if (w1 !== 0) ends.push([-(b + w2 * side) / w1, side]);
    }
    const largest = extent * (1 + 1e-9); // a corner is on two sides, but for rounding
    const inside = ends.filter((end) => end.every((value) => Math.abs(value) <= largest));
    if (inside.length < 2) return null;
    const [first] = inside;
    return [first, inside.reduce((far, end) =>
      distance(end, first) > distance(far, first) ? end : far)];
  }

  /* Edges of the square between its corners [row, column] where f changes its sign. */
  function crossings(f, row, column) {
    const corners = [[row, column], [row, column + 1], [row + 1, column + 1], [row + 1, column]];
    const found = [];
    corners.forEach((corner, i) => {
      const next = corners[(i + 1) % 4];
      const [from, to] = [f[corner[0]][corner[1]], f[next[0]][next[1]]];
      if (from > 0 !== to > 0) found.push(mix(corner, next, from / (from - to)));
    });
    return found;
  }

  /* Lines where a class becomes the most probable one, as the path of an SVG. Probabilities are
     given on the corners of squares; between corners they are interpolated. */
  function boundary(probabilities, left, top, cell) {
    const nClasses = probabilities[0][0].length;
    const lead = (p, k) => p[k] - Math.max(...p.filter((_, other) => other !== k));
    const point = ([row, column]) =>
      `${(left + column * cell).toFixed(1)} ${(top + row * cell).toFixed(1)}`;
    let path = "";
    for (let k = nClasses === 2 ? 1 : 0; k < nClasses; k++) {
      const f = probabilities.map((row) => row.map((p) => lead(p, k)));
      for (let row = 0; row + 1 < f.length; row++) {
        for (let column = 0; column + 1 < f.length; column++) {
          const ends = crossings(f, row, column).map(point);
          for (let i = 0; i + 1 < ends.length; i += 2) path += `M${ends[i]}L${ends[i + 1]}`;
        }
      }
    }
    return path;
  }

  return { boundary, clippedLine, mix };
})();

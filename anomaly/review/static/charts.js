// Charts: counts with what was expected, residuals, their histogram; and small multiples. Drawn by uPlot.
"use strict";
(() => {
  const MINUS = "\u2212";
  // A custom property as the canvas takes it: resolved for the theme, by an element that has it as its colour.
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  let known = new Map();
  document.addEventListener("theme", () => (known = new Map()));
  const colour = (name) => {
    if (!known.has(name)) {
      probe.style.color = `var(--${name})`;
      known.set(name, getComputedStyle(probe).color);
    }
    return known.get(name);
  };
  const middle = (t, step) => t + step / 2;

  // Three or more digits that matter, with separators, as the rest of the page writes numbers.
  const number = (value) => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    return value.toLocaleString("en-US", { maximumFractionDigits: digits }).replace("-", MINUS);
  };

  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const two = (value) => String(value).padStart(2, "0");
  const local = (zone) => (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone);
  const momentWords = (zone, seconds) => {
    const at = local(zone)(seconds);
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
    return `${days[at.getDay()]} ${at.getDate()} ${months[at.getMonth()]} ${at.getFullYear()} ${clock}`;
  };

  const tickWords = (zone) => (_, splits, __, ___, increment) =>
    splits.map((seconds) => {
      const at = local(zone)(seconds);
      if (increment < 86400 && (at.getHours() || at.getMinutes())) return `${two(at.getHours())}:${two(at.getMinutes())}`;
      if (increment >= 28 * 86400) return `${months[at.getMonth()]} ${at.getFullYear()}`;
      return `${at.getDate()} ${months[at.getMonth()]}`;
    });

  // The incidents as spans over the lines, thin enough to see them through.
  const spansPlugin = (spans) => ({
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        for (const [start, end] of spans) {
          const from = Math.max(plot.valToPos(start, "x", true), bbox.left);
          const to = Math.min(plot.valToPos(end, "x", true), bbox.left + bbox.width);
          if (to <= from) continue;
          ctx.fillStyle = colour("span");
          ctx.fillRect(from, bbox.top, Math.max(to - from, 2), bbox.height);
          ctx.fillStyle = colour("down");
          ctx.fillRect(from, bbox.top, Math.max(to - from, 2), 2 * devicePixelRatio);
        }
        ctx.restore();
      },
    },
  });

  const linesPlugin = (values, across) => ({
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.strokeStyle = colour("down");
        ctx.lineWidth = 1.2 * devicePixelRatio;
        ctx.setLineDash([5 * devicePixelRatio, 3 * devicePixelRatio]);
        for (const value of values) {
          if (value === null) continue;
          const at = Math.round(plot.valToPos(value, across ? "x" : "y", true));
          ctx.beginPath();
          if (across) {
            ctx.moveTo(at, bbox.top);
            ctx.lineTo(at, bbox.top + bbox.height);
          } else {
            if (at < bbox.top || at > bbox.top + bbox.height) continue;
            ctx.moveTo(bbox.left, at);
            ctx.lineTo(bbox.left + bbox.width, at);
          }
          ctx.stroke();
        }
        ctx.restore();
      },
    },
  });

  // A box that follows the cursor and says what is there.
  const hoverPlugin = (words) => {
    let box;
    return {
      hooks: {
        init: (plot) => {
          box = document.createElement("div");
          box.className = "hover";
          box.hidden = true;
          plot.over.appendChild(box);
          plot.over.addEventListener("mouseleave", () => (box.hidden = true));
        },
        setCursor: (plot) => {
          const { idx, left, top } = plot.cursor;
          // A synchronised cursor comes without a top of its own: only the panel under the pointer speaks.
          if (idx === null || idx === undefined || left < 0 || !plot.over.matches(":hover")) {
            box.hidden = true;
            return;
          }
          const lines = words(idx);
          if (!lines) {
            box.hidden = true;
            return;
          }
          box.replaceChildren(
            ...lines.map(([name, value], at) => {
              const line = document.createElement("div");
              if (at === 0) line.className = "hover-title";
              line.append(name);
              if (value !== undefined) {
                const strong = document.createElement("b");
                strong.textContent = value;
                line.append(strong);
              }
              return line;
            }),
          );
          box.hidden = false;
          const right = left + box.offsetWidth + 24 > plot.over.clientWidth;
          box.style.left = `${right ? Math.max(left - box.offsetWidth - 12, 0) : left + 12}px`;
          box.style.top = `${Math.max(Math.min(top - box.offsetHeight / 2, plot.over.clientHeight - box.offsetHeight), 0)}px`;
        },
      },
    };
  };

  const axisStyle = () => ({
    stroke: colour("quiet"),
    font: "11px system-ui, sans-serif",
    ticks: { show: false },
    grid: { stroke: colour("grid"), width: 1 },
  });

  const timeAxis = (zone) => ({
    ...axisStyle(),
    values: tickWords(zone),
    grid: { show: false },
    ticks: { show: true, stroke: colour("grid"), size: 4 },
    space: 70,
    size: 28,
  });

  const countAxis = () => ({
    ...axisStyle(),
    values: (_, splits) => splits.map(number),
    size: 54,
    space: 34,
  });

  const fromZero = (_, low, high) => {
    void low;
    return [0, high > 0 ? high * 1.08 : 1];
  };

  // The band may reach far above everything that was counted: then it is cut, not the counts.
  const countRange = (found) => {
    const most = Math.max(...[...found.observed, ...found.predicted].filter((v) => v !== null), 0);
    const band = Math.max(...found.upper.filter((v) => v !== null), 0);
    return (_, low, high) => {
      void low;
      void high;
      return fromZero(null, 0, Math.max(most, Math.min(band, 1.5 * most)));
    };
  };

  const anomalyPoints = (found, values) => {
    const points = new Array(values.length).fill(null);
    for (const [at] of found.anomalies) points[at] = values[at];
    return points;
  };

  const line = (stroke, width) => ({ stroke, width, points: { show: false }, spanGaps: false });
  const dots = () => ({
    stroke: null,
    paths: () => null,
    points: { show: true, size: 7, width: 1, fill: colour("down"), stroke: colour("surface"), space: 0 },
  });

  const widthOf = (element) => Math.max(element.clientWidth, 100);

  const countOptions = (found, element, height, small) => ({
    width: widthOf(element),
    height,
    legend: { show: false },
    tzDate: local(found.zone),
    scales: { x: { time: true }, y: { range: countRange(found) } },
    axes: small ? [{ show: false }, { show: false }] : [timeAxis(found.zone), countAxis()],
    series: [
      {},
      { ...line("transparent", 0) },
      { ...line("transparent", 0) },
      line(colour("expected"), small ? 1.2 : 1.6),
      line(colour("observed"), small ? 1.2 : 1.6),
      dots(),
    ],
    bands: [{ series: [1, 2], fill: colour("band") }],
  });

  const hoverWords = (found) => (at) => {
    const odd = found.anomalies.find(([where]) => where === at);
    const lines = [[momentWords(found.zone, found.t[at])], ["observed ", number(found.observed[at])]];
    if (found.predicted[at] !== null) lines.push(["expected ", number(found.predicted[at])]);
    if (found.lower[at] !== null) lines.push(["normal ", `${number(found.lower[at])} to ${number(found.upper[at])}`]);
    if (found.residuals[at] !== null) lines.push(["residual ", number(found.residuals[at])]);
    if (odd) lines.push([`${odd[1]}, found by `, odd[2]]);
    return lines;
  };

  const draw = (element, found) => {
    const parts = {
      main: element.querySelector(".main"),
      residuals: element.querySelector(".residuals"),
      histogram: element.querySelector(".histogram"),
    };
    for (const part of Object.values(parts)) part.replaceChildren();
    const step = found.t.length > 1 ? found.t[1] - found.t[0] : found.step;
    const x = found.t.map((t) => middle(t, step));
    const phone = element.clientWidth < 560;
    const spans = spansPlugin(found.spans);
    const key = `sync-${Math.random()}`;
    const cursor = { sync: { key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } };
    let plots = [];
    let whole = [x[0] - step / 2, x[x.length - 1] + step / 2];
    const zoom = (plot, scale) => {
      if (scale !== "x") return;
      const { min, max } = plot.scales.x;
      element.dataset.zoomed = String(min > whole[0] + step || max < whole[1] - step);
      for (const other of plots) {
        if (other !== plot && (other.scales.x.min !== min || other.scales.x.max !== max)) other.setScale("x", { min, max });
      }
    };
    const shared = { hooks: { setScale: [zoom] }, cursor };
    const counts = countOptions(found, parts.main, phone ? 220 : 300, false);
    const main = new uPlot(
      { ...counts, ...shared, plugins: [spans, hoverPlugin(hoverWords(found))] },
      [x, found.upper, found.lower, found.predicted, found.observed, anomalyPoints(found, found.observed)],
      parts.main,
    );
    const judged = found.residuals.filter((value) => value !== null);
    let residuals = null;
    if (judged.length) {
      const ends = [...judged, ...found.thresholds.filter((v) => v !== null), 0];
      const low = Math.min(...ends);
      const high = Math.max(...ends);
      const margin = 0.06 * (high - low) || 1;
      residuals = new uPlot(
        {
          width: widthOf(parts.residuals),
          height: phone ? 150 : 180,
          title: undefined,
          legend: { show: false },
          tzDate: local(found.zone),
          scales: { x: { time: true }, y: { range: [low - margin, high + margin] } },
          axes: [timeAxis(found.zone), countAxis()],
          series: [{}, line(colour("quiet"), 1.2), dots()],
          ...shared,
          plugins: [spans, linesPlugin(found.thresholds, false), hoverPlugin(hoverWords(found))],
        },
        [x, found.residuals, anomalyPoints(found, found.residuals)],
        parts.residuals,
      );
      label(parts.residuals, "Residuals and thresholds");
    } else {
      empty(parts.residuals, "No residuals: not judged in this time.");
    }
    plots = [main, residuals].filter(Boolean);
    if (found.histogram) {
      drawHistogram(parts.histogram, found, phone ? 150 : 180);
    } else {
      empty(parts.histogram, "No distribution was fitted.");
    }
    const note = element.querySelector(".chart-note");
    if (found.added_up > 1) {
      note.textContent = `Each point is ${found.added_up} intervals added up; a shorter time shows each, with the normal range. Drag to zoom.`;
    }
    element.reset = () => main.setScale("x", { min: whole[0], max: whole[1] });
    main.over.addEventListener("dblclick", element.reset);
    residuals?.over.addEventListener("dblclick", element.reset);
    element.reset();
    element.resize = () => {
      main.setSize({ width: widthOf(parts.main), height: main.height });
      residuals?.setSize({ width: widthOf(parts.residuals), height: residuals.height });
    };
    element.dataset.drawn = "true";
  };

  const label = (part, words) => {
    const title = document.createElement("p");
    title.className = "panel-title quiet";
    title.textContent = words;
    part.prepend(title);
  };

  const empty = (part, words) => {
    const said = document.createElement("p");
    said.className = "empty";
    said.textContent = words;
    part.append(said);
  };

  const drawHistogram = (part, found, height) => {
    const { middles, densities, x, curve, family, residuals } = found.histogram;
    const [table, bars, fitted] = (() => {
      const at = [...new Set([...middles, ...x])].sort((a, b) => a - b);
      const bar = new Map(middles.map((value, i) => [value, densities[i]]));
      const dense = new Map(x.map((value, i) => [value, curve[i]]));
      return [at, at.map((v) => bar.get(v) ?? null), at.map((v) => dense.get(v) ?? null)];
    })();
    const longest = Math.max(...densities, 0);
    const sharpest = Math.max(...curve.filter((v) => v !== null), 0);
    const top = longest > 0 ? Math.max(longest, Math.min(sharpest, 1.6 * longest)) : sharpest;
    const width = middles[1] - middles[0];
    const barPath = (plot, series, from, to) => {
      const path = new Path2D();
      const zero = plot.valToPos(0, "y", true);
      for (let i = from; i <= to; i++) {
        const value = plot.data[series][i];
        if (!value) continue;
        const left = plot.valToPos(plot.data[0][i] - width / 2, "x", true);
        const right = plot.valToPos(plot.data[0][i] + width / 2, "x", true);
        const up = plot.valToPos(value, "y", true);
        path.rect(left, up, Math.max(right - left - 1, 1), zero - up);
      }
      return { fill: path, stroke: null };
    };
    new uPlot(
      {
        width: widthOf(part),
        height,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
        scales: { x: { time: false, range: [middles[0] - width / 2, middles[middles.length - 1] + width / 2] }, y: { range: [0, 1.08 * top || 1] } },
        axes: [
          { ...axisStyle(), grid: { show: false }, values: (_, splits) => splits.map(number), size: 28 },
          { show: false },
        ],
        series: [
          {},
          { fill: colour("bar"), stroke: null, paths: barPath, points: { show: false } },
          { ...line(colour("expected"), 1.6), spanGaps: true },
        ],
        plugins: [
          linesPlugin(found.thresholds, true),
          hoverPlugin((at) => {
            const nearest = middles.reduce((best, value, i) => (Math.abs(value - table[at]) < Math.abs(middles[best] - table[at]) ? i : best), 0);
            const share = Math.round(densities[nearest] * width * residuals);
            return [[`residual ${number(middles[nearest])}`], ["history ", `${number(share)} of ${number(residuals)}`]];
          }),
        ],
      },
      [table, bars, fitted],
      part,
    );
    label(part, family === "counts" ? "History, judged by its counts" : `History, fitted: ${family}`);
  };

  const drawMultiples = (element, found) => {
    element.replaceChildren();
    if (!found.variables.length) {
      empty(element, "No other variable is related by its name.");
      return;
    }
    for (const one of found.variables) {
      const card = document.createElement("a");
      card.className = `multiple ${one.took_part ? "hit" : "calm"}`;
      card.href = one.took_part
        ? `${element.dataset.open}?v=${encodeURIComponent(one.name)}#chosen`
        : `${element.dataset.variable}/${encodeURIComponent(one.name)}`;
      const title = document.createElement("span");
      title.className = "multiple-title";
      title.textContent = one.called;
      title.title = one.called;
      const said = document.createElement("small");
      said.className = "quiet";
      said.textContent = one.took_part ? "took part" : "took no part";
      const panel = document.createElement("div");
      panel.className = "panel";
      card.append(title, said, panel);
      element.append(card);
      const full = { ...one, zone: found.zone, spans: found.spans };
      const step = full.t.length > 1 ? full.t[1] - full.t[0] : 3600;
      const options = countOptions(full, panel, 72, true);
      new uPlot(
        { ...options, padding: [4, 0, 2, 0], cursor: { show: false }, plugins: [spansPlugin(found.spans)] },
        [full.t.map((t) => middle(t, step)), full.upper, full.lower, full.predicted, full.observed, anomalyPoints(full, full.observed)],
        panel,
      );
    }
    element.dataset.drawn = "true";
  };

  // An alert that only one of two fits would tell: counts with what both expect, a panel per variable.
  const nothing = (found) => new Array(found.t.length).fill(null);
  const diffOptions = (one, found, element) => {
    const fits = [one.champion, one.challenger].filter(Boolean);
    const all = (name) => fits.flatMap((fit) => fit[name]);
    const odd = (fit) => new Set(fit ? fit.anomalies : []);
    const [before, after] = [odd(one.champion), odd(one.challenger)];
    const words = (at) => {
      const lines = [[momentWords(found.zone, one.t[at])], ["observed ", number(one.observed[at])]];
      for (const [name, fit, hits] of [["champion", one.champion, before], ["challenger", one.challenger, after]]) {
        if (!fit || fit.predicted[at] === null) continue;
        lines.push([`${name} expects `, number(fit.predicted[at])]);
        if (fit.lower[at] !== null) lines.push(["normal ", `${number(fit.lower[at])} to ${number(fit.upper[at])}`]);
        if (hits.has(at)) lines.push(["an anomaly for the ", name]);
      }
      return lines;
    };
    const point = (name) => ({ ...dots(), points: { ...dots().points, fill: colour(name) } });
    return {
      width: widthOf(element),
      height: 150,
      legend: { show: false },
      tzDate: local(found.zone),
      scales: { x: { time: true }, y: { range: countRange({ observed: one.observed, predicted: all("predicted"), upper: all("upper") }) } },
      axes: [timeAxis(found.zone), countAxis()],
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      series: [
        {},
        line("transparent", 0), line("transparent", 0),
        line("transparent", 0), line("transparent", 0),
        line(colour("expected"), 1.5), line(colour("down"), 1.5), line(colour("observed"), 1.5),
        point("expected"), point("down"),
      ],
      bands: [{ series: [1, 2], fill: colour("band") }, { series: [3, 4], fill: colour("band-challenger") }],
      plugins: [spansPlugin([found.span]), hoverPlugin(words)],
    };
  };
  const drawDiff = (element, found) => {
    element.replaceChildren();
    for (const one of found.variables) {
      const panel = document.createElement("div");
      panel.className = "panel";
      panel.setAttribute("role", "img");
      panel.setAttribute("aria-label", `Counts of ${one.name} with what champion and challenger expect`);
      element.append(panel);
      const of = (fit, name) => (fit ? fit[name] : nothing(one));
      const hits = (fit) => {
        const points = nothing(one);
        for (const at of fit ? fit.anomalies : []) points[at] = one.observed[at];
        return points;
      };
      const { champion, challenger } = one;
      const data = [
        one.t.map((t) => middle(t, found.step)),
        of(champion, "upper"), of(champion, "lower"), of(challenger, "upper"), of(challenger, "lower"),
        of(champion, "predicted"), of(challenger, "predicted"), one.observed,
        hits(champion), hits(challenger),
      ];
      new uPlot(diffOptions(one, found, panel), data, panel);
      label(panel, one.name);
    }
    element.dataset.drawn = "true";
  };

  const load = async (element, address, then) => {
    try {
      const response = await fetch(address, { credentials: "same-origin" });
      const found = await response.json();
      if (!response.ok) throw new Error(found.detail);
      element.found = found;
      then(element, found);
    } catch (failure) {
      const said = document.createElement("p");
      said.className = "note bad";
      said.textContent = `The chart could not be loaded: ${failure.message}`;
      element.prepend(said);
    }
  };

  const everything = [];
  const start = () => {
    for (const element of document.querySelectorAll("[data-chart]")) {
      everything.push([element, draw]);
      load(element, element.dataset.chart, draw);
    }
    // What is further down is asked for when it is about to be seen.
    const later = (element, address, how) => {
      everything.push([element, how]);
      const seen = new IntersectionObserver((entries) => {
        if (entries.some((entry) => entry.isIntersecting)) {
          seen.disconnect();
          load(element, address, how);
        }
      }, { rootMargin: "400px" });
      seen.observe(element);
    };
    for (const element of document.querySelectorAll("[data-multiples]")) later(element, element.dataset.multiples, drawMultiples);
    for (const element of document.querySelectorAll("[data-diff]")) later(element, element.dataset.diff, drawDiff);
    const redraw = () => everything.forEach(([element, how]) => element.found && how(element, element.found));
    document.addEventListener("theme", redraw);
    let waiting;
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth === width) return; // a phone's address bar
      width = window.innerWidth;
      clearTimeout(waiting);
      waiting = setTimeout(redraw, 120);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") document.querySelectorAll("[data-chart]").forEach((element) => element.reset?.());
    });
  };
  start();
})();

// Plots of the last minutes, drawn by uPlot. Each has its values as a table, too.

import { h } from "./lib.js";

// colour resolves a colour of the style sheet, because a canvas does not know light-dark().
function colour(name) {
	const probe = h("span", { hidden: true });
	probe.style.color = `var(${name})`;
	document.body.append(probe);
	const value = getComputedStyle(probe).color;
	probe.remove();
	return value;
}

const plotHeight = 170;

// tableStep is how many seconds one row of a plot's table covers. Ten minutes are twenty rows.
const tableStep = 30;

// Plot shows series over time. A series has a label and the value of a point.
export class Plot {
	constructor({ title, series, format, bars, day }) {
		Object.assign(this, { title, series, format, bars, day, points: [] });
		this.canvas = h("div", { class: "plot", role: "img", "aria-label": title });
		this.latest = h("ul", { class: "legend" });
		this.table = h("table");
		this.details = h("details", { ontoggle: () => this.tabulate() }, h("summary", {}, "Values as a table"),
			h("div", { class: "scroll short", tabindex: "0", role: "region", "aria-label": title + ", values" }, this.table));
		this.element = h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, title), this.latest), this.canvas, this.details);
		this.resized = new ResizeObserver(() => this.resize());
		this.resized.observe(this.canvas);
		this.recolour = () => { this.drop(); this.draw(); };
		window.addEventListener("theme", this.recolour);
	}

	close() {
		this.resized.disconnect();
		window.removeEventListener("theme", this.recolour);
		this.drop();
	}

	drop() {
		if (this.chart) this.chart.destroy();
		this.chart = null;
	}

	// show draws the points. Each has the Unix time at.
	show(points) {
		this.points = points;
		this.draw();
		const last = points[points.length - 1];
		this.latest.replaceChildren(...this.series.map((s, i) => h("li", { class: "s" + i }, s.label + " ", h("b", {}, last ? this.format(s.value(last)) : "–"))));
		this.canvas.setAttribute("aria-label", this.title + ": " + (last ? this.series.map(s => s.label + " " + this.format(s.value(last))).join(", ") : "no values yet"));
		if (this.details.open) this.tabulate();
	}

	data() { return [this.points.map(p => p.at), ...this.series.map(s => this.points.map(p => s.value(p) ?? null))]; }

	draw() {
		if (this.chart) return this.chart.setData(this.data());
		const width = this.canvas.clientWidth;
		if (!width || !this.points.length) return;
		const line = colour("--line"), ink = colour("--muted"), font = "11px " + getComputedStyle(document.body).fontFamily;
		const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
		const time = new Intl.DateTimeFormat("en-GB", this.day ? { month: "short", day: "numeric", timeZone: "UTC" } : { hour: "2-digit", minute: "2-digit", second: "2-digit" });
		this.chart = new uPlot({
			width, height: plotHeight, legend: { show: false }, cursor: { y: false, points: { size: 6 }, drag: { x: false } },
			scales: { x: { time: true }, y: { range: (_, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
			axes: [
				{ ...axis, size: 26, space: 70, values: (_, ticks) => ticks.map(t => time.format(t * 1000).replace(/:00$/, "")), grid: { show: false } },
				{ ...axis, size: 58, space: 34, values: (_, ticks) => ticks.map(v => this.format(v)) },
			],
			series: [{}, ...this.series.map((s, i) => ({
				label: s.label, stroke: colour("--s" + i), width: 1.5, spanGaps: false, points: { show: this.points.length < 3 },
				fill: i === 0 && this.series.length === 1 ? colour("--s0-fill") : undefined,
				...(this.bars ? { paths: uPlot.paths.bars({ size: [0.7, 60] }), fill: colour("--s0"), points: { show: false } } : {}),
			}))],
		}, this.data(), this.canvas);
	}

	resize() {
		const width = this.canvas.clientWidth;
		if (!this.chart) return this.draw();
		if (width && width !== this.chart.width) this.chart.setSize({ width, height: plotHeight });
	}

	tabulate() {
		if (!this.details.open) return;
		const step = this.day ? 1 : tableStep;
		const rows = this.points.filter((p, i) => (this.points.length - 1 - i) % step === 0).reverse();
		const time = at => this.day ? new Date(at * 1000).toISOString().slice(0, 10) : new Date(at * 1000).toLocaleTimeString("en-GB");
		this.table.replaceChildren(
			h("caption", { class: "hidden" }, this.title),
			h("thead", {}, h("tr", {}, h("th", { scope: "col" }, this.day ? "Day" : "Time"), this.series.map(s => h("th", { scope: "col", class: "num" }, s.label)))),
			h("tbody", {}, rows.map(p => h("tr", {}, h("th", { scope: "row" }, time(p.at)), this.series.map(s => h("td", { class: "num" }, this.format(s.value(p))))))));
	}
}

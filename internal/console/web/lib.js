// What all pages use: elements, numbers, requests, tables and confirmations.

// h returns an element. An attribute that begins with "on" is a listener; one that is false,
// null or undefined is left out.
export function h(tag, attributes, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes || {})) {
		if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
		else if (value === true) e.setAttribute(name, "");
		else if (value !== false && value != null) e.setAttribute(name, value);
	}
	add(e, ...children);
	return e;
}

const whole = new Intl.NumberFormat("en");

// add appends children to an element. It leaves out those that are null, undefined or false.
export const add = (e, ...children) => e.append(...children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false));

// number formats a count or a rate to about three digits.
export function number(x) {
	if (x == null) return "–";
	if (x >= 1e9) return (x / 1e9).toPrecision(3) + " G";
	if (x >= 1e6) return (x / 1e6).toPrecision(3) + " M";
	if (x >= 1e5) return (x / 1e3).toPrecision(3) + " k";
	if (Number.isInteger(x)) return whole.format(x);
	return x >= 100 ? whole.format(Math.round(x)) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
}

export const count = x => x == null ? "–" : whole.format(x);

// ms formats milliseconds with their unit.
export function ms(x) {
	if (x == null) return "–";
	if (x >= 60000) return seconds(x / 1000);
	if (x >= 1000) return (x / 1000).toFixed(2) + " s";
	if (x >= 100) return x.toFixed(0) + " ms";
	if (x >= 1) return x.toFixed(x >= 10 ? 1 : 2) + " ms";
	return (x * 1000).toFixed(0) + " µs";
}

// seconds formats a duration.
export function seconds(x) {
	if (x == null) return "–";
	if (x < 1) return ms(x * 1000);
	if (x < 60) return x.toFixed(x < 10 ? 1 : 0) + " s";
	if (x < 3600) return Math.floor(x / 60) + " min " + Math.floor(x % 60) + " s";
	if (x < 86400) return Math.floor(x / 3600) + " h " + Math.floor(x % 3600 / 60) + " min";
	return Math.floor(x / 86400) + " d " + Math.floor(x % 86400 / 3600) + " h";
}

export function bytes(x) {
	if (x == null) return "–";
	for (const unit of ["B", "kB", "MB", "GB"]) {
		if (x < 1024) return (x < 10 && unit !== "B" ? x.toFixed(1) : x.toFixed(0)) + " " + unit;
		x /= 1024;
	}
	return x.toFixed(1) + " TB";
}

export const percent = x => x == null || Number.isNaN(x) ? "–" : (100 * x).toFixed(x > 0 && x < 0.1 ? 1 : 0) + " %";

// breakable lets a long name break after an underscore, rather than in a word.
export const breakable = text => text.split(/(?<=_)/).flatMap((part, i) => i ? [h("wbr"), part] : [part]);

// when formats a time of the past, with the exact one as its title.
export function when(text) {
	if (!text) return "–";
	const at = new Date(text);
	return h("time", { datetime: text, title: at.toISOString() }, at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
}

// Problem is an error of a request, as the server explains it.
export class Problem extends Error {
	constructor(status, body) {
		super(body.detail || body.title || "The request failed.");
		this.status = status;
		this.hint = body.hint || "";
		this.errors = body.errors || [];
	}
}

// api sends a request and returns the JSON of its response.
export async function api(path, options = {}) {
	let response;
	try {
		response = await fetch(path, { ...options, headers: { Accept: "application/json", ...options.headers }, signal: AbortSignal.timeout(20000) });
	} catch (e) {
		throw new Problem(0, e.name === "TimeoutError" ? { detail: "The server did not answer in time." } : { detail: "The server cannot be reached.", hint: "It may be restarting, or the network is down." });
	}
	if (response.ok) return response.status === 204 ? null : response.json();
	if (response.status === 401) window.dispatchEvent(new Event("unauthorized"));
	throw new Problem(response.status, await response.json().catch(() => ({ detail: "The server answered with status " + response.status + "." })));
}

// poll loads data and shows it, again and again while the page is open and visible. It shows
// errors in place, says when it tries again, and recovers by itself.
export function poll(into, load, show, every) {
	let timer, closed = false, shown = false, failures = 0;
	const notice = h("div", { class: "notice", role: "alert", hidden: true });
	const body = h("div", { class: "loading", "aria-busy": "true" }, h("p", { class: "muted" }, "Loading…"));
	into.append(notice, body);
	const plan = delay => { clearTimeout(timer); if (!closed && delay) timer = setTimeout(run, delay); };
	async function run() {
		if (closed) return;
		if (document.hidden) return plan(1000);
		try {
			const data = await load();
			if (closed) return;
			failures = 0;
			notice.hidden = true;
			if (!shown) { body.replaceChildren(); body.className = ""; body.removeAttribute("aria-busy"); shown = true; }
			show(body, data);
			plan(every);
		} catch (e) {
			if (closed) return;
			if (!(e instanceof Problem)) { console.error(e); }
			failures++;
			const delay = Math.min(10, 1 + failures) * 1000;
			if (!shown) body.replaceChildren();
			failed(notice, e, shown, Date.now() + delay, run);
			plan(delay);
		}
	}
	run();
	return { again: run, close() { closed = true; clearTimeout(timer); clearInterval(notice.clock); } };
}

// failed shows an error, and when the request is sent again.
function failed(notice, e, stale, until, again) {
	clearInterval(notice.clock);
	const left = h("span", {}, "");
	const tell = () => { left.textContent = "Trying again in " + Math.max(0, Math.ceil((until - Date.now()) / 1000)) + " s."; };
	tell();
	notice.clock = setInterval(tell, 500);
	notice.replaceChildren();
	add(notice,
		h("p", {}, h("strong", {}, sentence(e.message))),
		e.hint ? h("p", {}, sentence(e.hint)) : null,
		h("p", { class: "muted" }, stale ? "The values below are older. " : "", left, " ", h("button", { type: "button", class: "quiet", onclick: again }, "Try now")));
	notice.hidden = false;
}

export const sentence = s => s ? s[0].toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? "" : ".") : "";

// say shows a short message and has a screen reader read it.
export function say(text, bad) {
	const n = h("p", { class: bad ? "bad" : "" }, text);
	document.getElementById("notices").append(n);
	setTimeout(() => n.remove(), 6000);
}

// confirm asks before an act. It resolves to whether to go on.
export function confirm(title, text, act) {
	const d = document.getElementById("dialog");
	document.getElementById("dialog-title").textContent = title;
	document.getElementById("dialog-text").textContent = text;
	const yes = document.getElementById("dialog-yes"), no = document.getElementById("dialog-no");
	yes.textContent = act;
	return new Promise(resolve => {
		const end = answer => { d.onclose = null; d.close(); resolve(answer); };
		yes.onclick = () => end(true);
		no.onclick = () => end(false);
		d.onclose = () => resolve(false);
		d.showModal();
		no.focus();
	});
}

// act runs an act of an operator and says how it went.
export async function act(button, f, done) {
	button.disabled = true;
	try {
		await f();
		say(done);
		return true;
	} catch (e) {
		say(sentence(e.message), true);
		return false;
	} finally {
		button.disabled = false;
	}
}

// Table is a sortable table whose rows are updated in place, so that focus and selection stay.
//
// A column has a label, the value of a row by which it is sorted, and the text or element that
// is shown. A column with fixed is only shown once for each row.
export class Table {
	constructor({ caption, columns, key, sort, descending, empty, rowClass, dense }) {
		Object.assign(this, { columns, key, sort: sort || null, descending: !!descending, rowClass });
		this.rows = new Map();
		this.body = h("tbody");
		this.heads = columns.map((c, i) => {
			const label = c.value ? h("button", { type: "button", onclick: () => this.sortBy(i) }, c.label) : c.label || h("span", { class: "hidden" }, c.name || "Actions");
			return h("th", { scope: "col", class: classOf(c), title: c.title }, label);
		});
		this.table = h("table", { class: dense ? "dense" : null }, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, this.heads)), this.body);
		this.none = h("p", { class: "empty", hidden: true }, empty || "Nothing.");
		this.element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, this.table, this.none);
	}

	sortBy(i) {
		if (this.sort === i) this.descending = !this.descending;
		else [this.sort, this.descending] = [i, !!this.columns[i].num];
		this.show(this.data);
	}

	show(data) {
		this.data = data;
		this.heads.forEach((th, i) => {
			if (i === this.sort) th.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
			else th.removeAttribute("aria-sort");
		});
		const list = [...data];
		if (this.sort !== null) {
			const value = this.columns[this.sort].value;
			list.sort((a, b) => compare(value(a), value(b)) * (this.descending ? -1 : 1));
		}
		const seen = new Set();
		list.forEach((row, i) => {
			const k = this.key(row);
			seen.add(k);
			let tr = this.rows.get(k);
			if (!tr) {
				tr = h("tr", {}, this.columns.map(c => h(c.head ? "th" : "td", { class: classOf(c), scope: c.head ? "row" : null, "data-label": c.label || null })));
				this.rows.set(k, tr);
			}
			if (this.rowClass) tr.className = this.rowClass(row) || "";
			this.columns.forEach((c, j) => {
				const td = tr.cells[j];
				if (c.fixed && td.firstChild) return;
				const content = c.show ? c.show(row) : c.value(row);
				if (content instanceof Node) { if (!td.firstChild || td.innerHTML !== content.outerHTML) td.replaceChildren(content); }
				else if (td.textContent !== String(content ?? "")) td.textContent = content ?? "";
			});
			if (this.body.children[i] !== tr) this.body.insertBefore(tr, this.body.children[i] || null);
		});
		for (const [k, tr] of this.rows) if (!seen.has(k)) { tr.remove(); this.rows.delete(k); }
		this.table.hidden = list.length === 0;
		this.none.hidden = list.length > 0;
	}
}

// classOf returns the classes of a column: num for numbers, and opt if a phone leaves it out.
const classOf = c => [c.num && "num", c.class, c.opt && "opt"].filter(Boolean).join(" ") || null;

function compare(a, b) {
	if (a == null || b == null) return (a == null ? -1 : 0) - (b == null ? -1 : 0);
	return a < b ? -1 : a > b ? 1 : 0;
}

// badge is a short state. Its colour repeats what its text says.
export const badge = (text, kind) => h("span", { class: "badge " + (kind || "") }, text);

// bar is a share of a whole, drawn behind its text.
export function bar(share, text) {
	const meter = h("meter", { min: 0, max: 1, value: Math.min(1, share || 0), "aria-hidden": "true" });
	return h("span", { class: "bar" }, h("span", {}, text), meter);
}

// panel is a section of a page with a heading.
export function panel(title, ...children) {
	const id = "h-" + title.toLowerCase().replace(/[^a-z]+/g, "-");
	return h("section", { class: "panel", "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

// facts is a list of names and values.
export const facts = pairs => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

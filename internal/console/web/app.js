// The frame of the console: its pages, its theme, its stream and signing in.

import { h, api, number, seconds, sentence } from "./lib.js";
import * as overview from "./overview.js";
import * as statements from "./statements.js";
import * as inflight from "./inflight.js";
import * as tasks from "./tasks.js";
import * as schema from "./schema.js";
import * as stats from "./stats.js";
import * as imports from "./imports.js";

// Pages of the service need its API.
const pages = [
	{ path: "overview", title: "Overview", open: overview.open },
	{ path: "statements", title: "Statements", open: statements.open },
	{ path: "in-flight", title: "In flight", open: inflight.open },
	{ path: "tasks", title: "Tasks", open: tasks.open, service: true },
	{ path: "schema", title: "Schema", open: schema.open },
	{ path: "stats", title: "Stats", open: stats.open, service: true },
	{ path: "import", title: "Import", open: imports.open, service: true },
];

const main = document.getElementById("main");
const status = document.getElementById("status");

// state is what the stream has brought. Pages that show it are told of each change.
const state = { overview: null, samples: [], lost: false, retryAt: 0 };
const keep = 600; // samples: ten minutes, as on the server
let page = null, stream = null, timer, opened = "";

function tell() {
	showStatus();
	if (page && page.update) page.update(state);
}

function showStatus() {
	const o = state.overview;
	let text = "connecting…", kind = "";
	if (state.lost) [text, kind] = ["no answer from the server", "bad"];
	else if (o && !o.database.ok) [text, kind] = ["database down", "bad"];
	else if (o && o.servers.some(s => !s.up)) [text, kind] = ["a replica is not used", "warn"];
	else if (o) [text, kind] = ["database up", "good"];
	if (status.textContent !== text) status.textContent = text;
	status.className = "status " + kind;
	if (o) {
		document.getElementById("name").textContent = o.name;
		document.getElementById("version").textContent = o.version;
	}
}

// connect loads the last minutes and follows the stream. It begins again if the stream ends.
async function connect() {
	clearTimeout(timer);
	disconnect();
	if (document.hidden) return;
	try {
		const o = await api("/console/api/overview");
		state.samples = o.samples || [];
		delete o.samples;
		const first = !state.overview;
		state.overview = o;
		state.lost = false;
		if (first) { showNav(); go(); document.getElementById("signout").hidden = !o.sign_in; }
		tell();
	} catch (e) {
		if (e.status === 401) return;
		return later(e);
	}
	stream = new EventSource("/console/api/events");
	stream.addEventListener("overview", e => {
		state.overview = JSON.parse(e.data);
		state.lost = false;
		const last = state.samples[state.samples.length - 1];
		if (!last || last.at < state.overview.now.at) state.samples.push(state.overview.now);
		if (state.samples.length > keep) state.samples.splice(0, state.samples.length - keep);
		tell();
	});
	stream.addEventListener("again", connect);
	stream.onerror = () => later(null);
}

function disconnect() {
	if (stream) stream.close();
	stream = null;
}

function later(e) {
	disconnect();
	state.lost = true;
	state.problem = e ? sentence(e.message) + (e.hint ? " " + sentence(e.hint) : "") : "The stream of the server ended.";
	state.retryAt = Date.now() + 2000;
	if (!state.overview && !main.querySelector(".notice")) {
		main.replaceChildren(h("h1", {}, "Console"), h("div", { class: "notice", role: "alert" }, h("p", {}, h("strong", {}, state.problem)), h("p", { class: "muted" }, "Trying again every 2 s.")));
	}
	tell();
	timer = setTimeout(connect, 2000);
}

function showNav() {
	const list = pages.filter(p => !p.service || state.overview.service);
	document.getElementById("nav").replaceChildren(...list.map(p => h("li", {}, h("a", { href: "#/" + p.path }, p.title))));
}

// go opens the page that the address names.
function go() {
	if (!state.overview || location.hash === "#main") return;
	const [path, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
	const found = pages.find(p => p.path === path && (!p.service || state.overview.service)) || pages[0];
	if (page && page.close) page.close();
	for (const a of document.querySelectorAll("#nav a")) {
		if (a.getAttribute("href") === "#/" + found.path) a.setAttribute("aria-current", "page");
		else a.removeAttribute("aria-current");
	}
	const argument = rest.map(decodeURIComponent).join("/");
	document.title = (argument ? argument + " – " : "") + found.title + " – " + state.overview.name;
	main.replaceChildren();
	page = found.open(main, state, argument) || {};
	// A screen reader begins at the new page, unless it was the first one.
	if (opened && opened !== location.hash) { main.focus({ preventScroll: true }); window.scrollTo(0, 0); }
	opened = location.hash || "#/";
	tell();
}

// signIn shows the form for an API token.
let signingIn = false;
function signIn() {
	if (signingIn) return;
	signingIn = true;
	disconnect();
	if (page && page.close) page.close();
	page = null;
	const problem = h("p", { class: "bad", role: "alert" });
	const token = h("input", { type: "password", id: "token", name: "token", autocomplete: "current-password", required: true, spellcheck: "false" });
	const button = h("button", { type: "submit", class: "primary" }, "Sign in");
	const form = h("form", { class: "panel narrow", onsubmit: async e => {
		e.preventDefault();
		button.disabled = true;
		problem.textContent = "";
		const response = await fetch("/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: token.value.trim() }) }).catch(() => null);
		button.disabled = false;
		if (response && response.ok) {
			signingIn = false;
			state.overview = null;
			main.replaceChildren();
			return connect();
		}
		const body = response ? await response.json().catch(() => ({})) : {};
		problem.textContent = body.detail || "The server did not answer. Try again.";
		token.select();
	} }, h("h1", {}, "Sign in"), h("p", {}, "The console needs an API token with scope ", h("code", {}, "operate"), ". The operator creates one with ", h("code", {}, "server token create --scope operate"), "."),
	h("label", { for: "token" }, "API token"), token, problem, h("div", { class: "row end" }, button));
	document.title = "Sign in – Quern console";
	status.textContent = "signed out";
	status.className = "status";
	document.getElementById("nav").replaceChildren();
	main.replaceChildren(form);
	token.focus();
}

document.getElementById("signout").addEventListener("click", async () => {
	await fetch("/v1/session", { method: "DELETE" }).catch(() => null);
	document.getElementById("signout").hidden = true;
	signIn();
});

// theme steps through the system's theme, the light and the dark one.
const button = document.getElementById("theme");
const showTheme = () => { button.textContent = "Theme: " + (document.documentElement.dataset.theme || "system"); };
button.addEventListener("click", () => {
	const root = document.documentElement.dataset;
	const next = { "": "light", light: "dark", dark: "" }[root.theme || ""];
	if (next) root.theme = next; else delete root.theme;
	try { if (next) localStorage.setItem("theme", next); else localStorage.removeItem("theme"); } catch { /* storage may be forbidden */ }
	showTheme();
	window.dispatchEvent(new Event("theme"));
});
showTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("theme")));

window.addEventListener("hashchange", go);
window.addEventListener("unauthorized", signIn);
// A page that nobody sees costs nothing.
document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect(); else if (!signingIn) connect(); });
connect();

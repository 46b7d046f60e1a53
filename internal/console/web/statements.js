// Statements: the registry with its counters, and one statement with its plan.

import { h, add, api, number, count, ms, seconds, percent, poll, panel, facts, badge, bar, act, sentence, Table } from "./lib.js";
import { contract } from "./overview.js";
import { sql } from "./sql.js";

export const open = (main, state, name) => name ? one(main, name) : list(main);

const link = s => h("a", { href: "#/statements/" + encodeURIComponent(s.name) }, s.name);

// short leaves out the zeros of a duration of Go, such as 12h0m0s.
const short = d => d.replace(/([hm])0s$/, "$1").replace(/(h)0m$/, "$1");

// policy lists the directives of a statement.
export function policy(p) {
	const list = [];
	if (p.route === "replica") list.push("@route replica");
	if (p.timeout) list.push("@timeout " + short(p.timeout));
	if (p.retry) list.push("@retry");
	if (p.plan) list.push("@plan " + p.plan);
	if (p.batch) list.push("@batch" + (p.batch === "" ? "" : " " + p.batch));
	if (p.class !== "default") list.push("@class " + p.class);
	if (p.stream) list.push("@stream");
	if (p.queue) list.push("@queue");
	if (p.derived_from) list.push("derived from " + p.derived_from);
	return list;
}

function list(main) {
	const search = h("input", { type: "search", id: "search", placeholder: "name, file, words of its doc or policy", autocomplete: "off", oninput: () => show() });
	const idle = h("input", { type: "checkbox", id: "idle", checked: true, onchange: () => show() });
	const check = h("button", { type: "button", onclick: () => act(check, async () => { await api("/console/api/plans", { method: "POST" }); await poller.again(); }, "All plan contracts were checked.") }, "Check the plans now");
	const about = h("p", { class: "muted" });
	let data = null;
	const table = new Table({
		caption: "Statements", dense: true, key: s => s.name, sort: 3, descending: true, empty: "No statement matches.",
		columns: [
			{ label: "Statement", head: true, fixed: true, value: s => s.name.toLowerCase(), show: s => h("span", {}, link(s), h("br"), h("small", { class: "muted" }, s.policy.derived_from ? "derived" : s.file || "runtime")) },
			{ label: "Policy", class: "wrap policy", opt: true, fixed: true, value: s => policy(s.policy).join(" "), show: s => h("span", { class: "chips" }, policy(s.policy).map(p => h("code", {}, p))) },
			{ label: "Calls", num: true, value: s => s.calls, show: s => number(s.calls) },
			{ label: "Time", num: true, title: "Share of the time of all statements", value: s => s.total_seconds, show: s => s.calls ? bar(s.share, percent(s.share)) : "–" },
			{ label: "Errors", opt: true, num: true, value: s => s.errors, show: s => s.errors ? h("span", { class: "bad" }, number(s.errors)) : "0" },
			{ label: "p50", opt: true, num: true, value: s => s.p50_ms, show: s => ms(s.p50_ms) },
			{ label: "p99", num: true, value: s => s.p99_ms, show: s => ms(s.p99_ms) },
			{ label: "Rows/call", opt: true, num: true, value: s => s.calls ? s.rows / s.calls : null, show: s => s.calls ? number(s.rows / s.calls) : "–" },
			{ label: "On replica", opt: true, num: true, value: s => s.calls ? s.replica_calls / s.calls : null, show: s => s.calls && s.policy.route === "replica" ? percent(s.replica_calls / s.calls) : "–" },
			{ label: "Batch", opt: true, num: true, title: "Calls per shared statement", value: s => s.batches ? s.coalesced_calls / s.batches : null, show: s => s.batches ? number(s.coalesced_calls / s.batches) : "–" },
			{ label: "Contract", title: "Whether @plan holds in this database", value: s => s.contract.state, show: contract },
		],
	});
	function show() {
		if (!data) return;
		const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
		const all = data.statements.reduce((n, s) => n + s.total_seconds, 0);
		table.show(data.statements
			.filter(s => idle.checked || s.calls)
			.filter(s => { const text = [s.name, s.file, s.doc, ...policy(s.policy)].join(" ").toLowerCase(); return words.every(w => text.includes(w)); })
			.map(s => ({ ...s, share: all ? s.total_seconds / all : 0 })));
		about.textContent = `Counted since ${new Date(data.since).toLocaleString("en-GB")}. ` +
			(data.plans_checked ? `Plans checked at ${new Date(data.plans_checked).toLocaleTimeString("en-GB")}. ` : "Plans not checked yet. ") + (data.plans_problem ? sentence(data.plans_problem) : "");
	}
	main.append(h("h1", {}, "Statements"), h("div", { class: "row controls" },
		h("div", { class: "field grow" }, h("label", { for: "search" }, "Search"), search),
		h("label", { class: "check" }, idle, "also those that never ran"), check), about);
	const body = h("div");
	main.append(body);
	const poller = poll(body, () => api("/console/api/statements"), (into, d) => {
		data = d;
		if (!into.contains(table.element)) into.append(table.element);
		show();
	}, 2000);
	return poller;
}

function one(main, name) {
	main.append(h("p", {}, h("a", { href: "#/statements" }, "← All statements")), h("h1", {}, name));
	const top = h("div"), plan = panel("Plan"), path = "/console/api/statements/" + encodeURIComponent(name);
	main.append(top);
	let shown = false;
	const numbers = h("div"), histogram = h("div");
	const poller = poll(top, () => api(path), (into, s) => {
		if (!shown) {
			add(into,
				s.doc ? h("p", { class: "doc" }, s.doc) : null,
				h("p", { class: "chips" }, s.file ? h("code", {}, "queries/" + s.file) : null, h("code", {}, ":" + s.kind), policy(s.policy).map(p => h("code", {}, p)), h("code", {}, "timeout " + short(s.effective_timeout))),
				numbers,
				h("div", { class: "columns" },
					h("div", {}, panel("SQL", sql(s.sql || "-- no text: the runtime sends it")), plan),
					h("div", {}, panel("Parameters", names(s.params, "Parameters")), s.columns.length ? panel("Columns", names(s.columns, "Columns")) : null)),
				panel("Latency histogram", histogram),
				s.derived.length ? panel("Derived statements", h("ul", {}, s.derived.map(d => h("li", {}, link(d), ` ${number(d.calls)} calls`)))) : null);
			shown = true;
		}
		numbers.replaceChildren(facts([
			["Calls", count(s.calls)], ["Total time", seconds(s.total_seconds)], ["Mean", ms(s.calls ? s.mean_ms : null)], ["p50", ms(s.p50_ms)], ["p95", ms(s.p95_ms)], ["p99", ms(s.p99_ms)],
			["Rows", count(s.rows)], ["Errors", s.errors ? h("span", { class: "bad" }, count(s.errors), " (", Object.entries(s.error_classes).map(([k, n]) => `${k} ${n}`).join(", "), ")") : "0"],
			["Retries", count(s.retries)],
			s.policy.route === "replica" ? ["On a replica", s.calls ? percent(s.replica_calls / s.calls) + fallbacks(s.fallbacks) : "–"] : null,
			s.policy.batch ? ["Calls per batch", s.batches ? number(s.coalesced_calls / s.batches) + `, ${percent(s.coalesced_calls / s.calls)} of calls` : "never coalesced"] : null,
			["Contract", s.contract.state === "none" ? h("span", { class: "muted" }, "no @plan") : h("span", {}, contract(s), s.contract.problem ? " " + s.contract.problem : "")],
		]));
		bars(histogram, s.buckets, s.calls);
	}, 2000);
	// The plan has its own request, because the rest is also known while the database is down.
	const planPoller = poll(plan, () => api(path + "/plan"), (into, p) => {
		into.replaceChildren(
			h("p", { class: "answer" }, p.indexes.length ? h("span", {}, "Uses ", p.indexes.map((x, i) => [i ? ", " : "", h("code", {}, x)]), ". ") : "Uses no index. ",
				p.sequential.length ? h("span", { class: "bad" }, "Reads all of ", p.sequential.join(", "), ". ") : null),
			h("ul", { class: "plan" }, node(p.root)),
			h("p", { class: "muted" }, "The generic plan, with this database's statistics. Rows and costs are the planner's estimates."));
	}, 60000);
	return { close() { poller.close(); planPoller.close(); } };
}

const fallbacks = f => { const list = Object.entries(f).map(([k, n]) => `${k} ${n}`); return list.length ? " (on the primary: " + list.join(", ") + ")" : ""; };

function names(list, caption) {
	if (!list.length) return h("p", { class: "empty" }, "None.");
	return h("table", { class: "plain" }, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "Type"))),
		h("tbody", {}, list.map((p, i) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, p.name)), h("td", {}, h("code", {}, p.type))))));
}

function node(n) {
	return h("li", {}, h("div", { class: "node" + (n.sequential ? " bad" : "") }, h("strong", {}, n.title), h("span", { class: "muted" }, ` cost ${number(n.cost)}, rows ${number(n.rows)}`),
		n.conditions.map(c => h("div", { class: "condition" }, c.name + ": ", h("code", {}, c.text)))), n.plans.length ? h("ul", {}, n.plans.map(node)) : null);
}

// bars shows a histogram as a table with bars, so that it needs no second form.
function bars(into, buckets, calls) {
	if (!buckets.length) return into.replaceChildren(h("p", { class: "empty" }, "It has not run yet."));
	const top = Math.max(...buckets.map(b => b.calls));
	into.replaceChildren(h("table", { class: "histogram" }, h("caption", { class: "hidden" }, "Calls by duration"),
		h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "num" }, "Up to"), h("th", { scope: "col", class: "num" }, "Calls"), h("th", { scope: "col", class: "num" }, "Share"), h("th", { scope: "col" }, h("span", { class: "hidden" }, "Bar")))),
		h("tbody", {}, buckets.map(b => h("tr", {}, h("th", { scope: "row", class: "num" }, ms(b.to_ms)), h("td", { class: "num" }, count(b.calls)), h("td", { class: "num" }, percent(b.calls / calls)),
			h("td", { class: "wide" }, h("meter", { min: 0, max: top, value: b.calls, "aria-hidden": "true" })))))));
}

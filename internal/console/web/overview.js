// Overview: the state of now, and the last ten minutes.

import { h, api, number, count, ms, seconds, percent, sentence, poll, panel, badge, bar, Table } from "./lib.js";
import { Plot } from "./plot.js";

const sum = (samples, f) => samples.reduce((n, s) => n + (f(s) || 0), 0);
const most = (samples, f) => samples.reduce((m, s) => Math.max(m, f(s) ?? 0), 0);

// isReplica leaves out a listed node that is the primary now.
const isReplica = s => s.replica && !s.primary;

export function open(main, state) {
	const down = h("div", { class: "notice", role: "alert", hidden: true });
	const tiles = h("dl", { class: "tiles" });
	const plots = [
		new Plot({ title: "Calls per second", format: number, series: [{ label: "requests", value: s => s.requests }, { label: "statements", value: s => s.statements }] }),
		new Plot({ title: "Time of a statement", format: ms, series: [{ label: "p50", value: s => s.statement_times.p50_ms }, { label: "p95", value: s => s.statement_times.p95_ms }, { label: "p99", value: s => s.statement_times.p99_ms }] }),
		new Plot({ title: "Time of a request", format: ms, series: [{ label: "p50", value: s => s.request_times.p50_ms }, { label: "p95", value: s => s.request_times.p95_ms }, { label: "p99", value: s => s.request_times.p99_ms }] }),
		new Plot({ title: "Primary's connections", format: number, series: [{ label: "in use", value: s => s.in_use }, { label: "idle", value: s => s.idle }, { label: "calls waiting", value: s => s.waiting }] }),
		new Plot({ title: "Errors and retries per second", format: number, series: [{ label: "failed statements", value: s => s.statement_errors }, { label: "retries", value: s => s.retries }, { label: "requests with status 5xx", value: s => s.request_errors }] }),
		new Plot({ title: "Coalescing per second", format: number, series: [{ label: "calls", value: s => s.coalesced }, { label: "shared statements", value: s => s.batches }] }),
	];
	const lag = new Plot({ title: "Lag of the last replica", format: seconds, series: [{ label: "lag", value: s => s.lag_seconds }] });
	const poolAnswer = h("p", { class: "answer" }), replicaAnswer = h("p", { class: "answer" });

	const servers = new Table({
		caption: "Servers and their pools", key: s => s.name, empty: "No server.",
		columns: [
			{ label: "Server", head: true, show: s => s.name },
			{ label: "State", show: s => s.up ? badge(s.replica && s.primary ? "primary now" : s.replica ? "replica, used" : "primary", "good") : h("span", {}, badge(s.primary ? "primary, down" : "replica, not used", "bad"), h("br"), h("small", {}, s.problem || "")) },
			{ label: "Timeline", num: true, show: s => s.timeline || "–" },
			{ label: "Lag", num: true, show: s => s.replica && !s.primary ? seconds(s.lag_seconds) : "–" },
			{ label: "In use of pool", num: true, show: s => bar(s.in_use / s.max, `${s.in_use} of ${s.max}`) },
			{ label: "Idle", num: true, show: s => count(s.idle) },
			{ label: "Waits", num: true, title: "Calls that had to wait for a connection, since the start", show: s => count(s.waits) },
			{ label: "Mean wait", num: true, show: s => s.waits ? ms(1000 * s.wait_seconds / s.waits) : "–" },
		],
	});
	const classes = new Table({
		caption: "Shares of the pools by class", key: c => c.server + "/" + c.name, empty: "No class.",
		columns: [
			{ label: "Server", head: true, show: c => c.server },
			{ label: "Class", show: c => c.name },
			{ label: "In use of share", num: true, show: c => bar(c.used / c.limit, `${c.used} of ${c.limit}`) },
			{ label: "Waiting", num: true, show: c => count(c.waiting) },
			{ label: "Refused", num: true, title: "Calls that got no connection, since the start", show: c => count(c.refused) },
		],
	});
	const hosts = new Table({
		caption: "Hosts of DATABASE_URL", key: x => x.name, empty: "No host.",
		columns: [
			{ label: "Host", head: true, show: x => x.name },
			{ label: "State", show: x => !x.answers ? badge("no answer", "bad") : x.timeline ? badge("accepts writes", "good") : badge("standby", "") },
			{ label: "Timeline", num: true, show: x => x.timeline || "–" },
		],
	});
	const hostPanel = panel("Hosts of DATABASE_URL", hosts.element);
	const events = h("ol", { class: "events", tabindex: "0", "aria-label": "Events" }); // it scrolls, also by keyboard
	const dear = panel("Statements that cost most");
	const poller = poll(dear, () => api("/console/api/statements"), costliest(), 5000);

	main.append(h("h1", {}, "Overview"), down, tiles, h("div", { class: "plots" }, plots.map(p => p.element), lag.element),
		dear, panel("Servers and pools", poolAnswer, replicaAnswer, servers.element, h("h3", {}, "By class"), classes.element), hostPanel,
		panel("Events", h("p", { class: "muted" }, "Failovers, lost connections, and writes whose answer was lost."), events));

	return {
		close() { poller.close(); [...plots, lag].forEach(p => p.close()); },
		update({ overview: o, samples, lost, problem, retryAt }) {
			if (!o) return;
			showDown(down, o, lost, problem, retryAt);
			showTiles(tiles, o, samples);
			plots.forEach(p => p.show(samples));
			lag.element.hidden = !o.servers.some(s => s.replica);
			if (!lag.element.hidden) lag.show(samples);
			poolAnswer.textContent = aboutPool(o, samples);
			replicaAnswer.textContent = aboutReplicas(o, samples);
			servers.show(o.servers);
			classes.show(o.servers.flatMap(s => s.classes.map(c => ({ ...c, server: s.name }))));
			hostPanel.hidden = o.hosts.length === 0;
			hosts.show(o.hosts);
			showEvents(events, o.events);
		},
	};
}

function showDown(down, o, lost, problem, retryAt) {
	const next = lost ? retryAt : o.database.next_try ? Date.parse(o.database.next_try) : 0;
	down.hidden = !lost && o.database.ok;
	if (down.hidden) return;
	const left = Math.max(0, Math.ceil((next - Date.now()) / 1000));
	const text = [
		lost ? "The server does not answer." : "The database does not answer.",
		lost ? problem : sentence(o.database.problem) + " " + sentence(o.database.hint),
		(lost ? "The values below are older. " : `Since ${new Date(o.database.since).toLocaleTimeString("en-GB")}. `) + (left ? `Tried again in ${left} s.` : "Trying now."),
	];
	if (down.children.length !== text.length) down.replaceChildren(h("p", {}, h("strong")), h("p"), h("p", { class: "muted" }));
	[down.querySelector("strong"), down.children[1], down.children[2]].forEach((e, i) => { if (e.textContent !== text[i]) e.textContent = text[i]; });
}

function showTiles(tiles, o, samples) {
	const n = o.now, primary = o.servers.find(s => !s.replica), replicas = o.servers.filter(isReplica);
	const doubts = Object.values(o.in_doubt).reduce((a, b) => a + b, 0), unknown = o.in_doubt.unknown || 0;
	const list = [
		["Requests", number(n.requests) + " /s", "p99 " + ms(n.request_times.p99_ms)],
		["Statements", number(n.statements) + " /s", `p50 ${ms(n.statement_times.p50_ms)}, p95 ${ms(n.statement_times.p95_ms)}`],
		["p99 of a statement", ms(n.statement_times.p99_ms), "over the last 5 s"],
		["Pool in use", `${primary.in_use} of ${primary.max}`, `${primary.idle} idle, ${n.waiting} waiting`],
		["Replicas", replicas.length ? `${replicas.filter(s => s.up).length} of ${replicas.length} used` : "none", replicas.length ? "lag up to " + seconds(most([n], s => s.lag_seconds)) : "all reads run on the primary"],
		["Coalescing", o.coalescing.batches ? number(o.coalescing.calls / o.coalescing.batches) + " calls" : "–", o.coalescing.batches ? "per shared statement" : "no calls were merged yet"],
		["Retries", count(o.retries), "since the start"],
		["Commits in doubt", count(doubts), unknown ? `${unknown} stayed unknown` : doubts ? "all resolved" : "none since the start", unknown ? "bad" : ""],
	];
	if (o.commits_waiting_for_standby) list.push(["Commits waiting", count(o.commits_waiting_for_standby), "for a synchronous standby", "bad"]);
	if (tiles.children.length !== list.length) tiles.replaceChildren(...list.map(() => h("div", {}, h("dt"), h("dd"), h("dd", { class: "sub" }))));
	list.forEach(([name, value, sub, kind], i) => {
		const t = tiles.children[i];
		t.className = kind || "";
		[name, value, sub].forEach((text, j) => { if (t.children[j].textContent !== text) t.children[j].textContent = text; });
	});
}

// aboutPool says whether the pool is too small.
function aboutPool(o, samples) {
	const p = o.servers.find(s => !s.replica), waiting = most(samples, s => s.waiting), used = most(samples, s => s.in_use);
	const refused = Math.round(sum(samples, s => s.refused));
	const span = samples.length ? seconds(samples[samples.length - 1].at - samples[0].at) : "0 s";
	if (refused) {
		const by = {};
		for (const s of o.servers) for (const c of s.classes) if (c.refused) by[c.name] = (by[c.name] || 0) + c.refused;
		const list = Object.entries(by).map(([name, n]) => `class ${name} ${count(n)}`).join(", ");
		return `The pool is too small, or statements hold it too long: ${refused === 1 ? "one call" : count(refused) + " calls"} got no connection in the last ${span} (since the start: ${list}). ` +
			(by.default ? "Look at In flight for what holds connections, or raise POOL_MAX_CONNS." : "Only the shares of other classes are too small: make their statements faster, or raise POOL_CLASSES.");
	}
	const calls = sum(samples, s => s.statements), waits = sum(samples, s => s.waits), wait = waits ? 1000 * sum(samples, s => s.wait_seconds) / waits : 0;
	const full = `${percent(calls ? Math.min(1, waits / calls) : 0)} of the statements of the last ${span} waited for a connection, ${ms(wait)} on average`;
	// A few calls also wait while the first connections are opened.
	if (waits > calls / 10 && waits >= 50) return `The pool is small for this load: ${full}. Look for statements that hold connections, or raise POOL_MAX_CONNS.`;
	if (waits || waiting || used >= p.max) return `The pool is large enough, although all ${p.max} connections were in use at times: ${full}.`;
	return `The pool is large enough: at most ${used} of ${p.max} connections were in use in the last ${span}, and no call waited for its share.`;
}

// aboutReplicas says whether the replicas keep up.
function aboutReplicas(o, samples) {
	const replicas = o.servers.filter(isReplica), unused = replicas.filter(s => !s.up);
	const at = o.servers.find(s => s.replica && s.primary && s.up), where = at ? `The primary is ${at.name}. ` : "";
	if (!replicas.length) return where + "There is no replica. Set DATABASE_REPLICA_URLS or REPLICA_DISCOVERY to let reads run on replicas.";
	if (unused.length) return where + `${unused.map(s => s.name).join(", ")} ${unused.length === 1 ? "is" : "are"} not used, so reads run on the other servers.`;
	return where + `All replicas keep up: the lag was at most ${seconds(most(samples, s => s.lag_seconds))} in the last ten minutes.`;
}

function costliest() {
	const table = new Table({
		caption: "Statements that cost most", key: s => s.name, empty: "No statement has run yet.",
		columns: [
			{ label: "Statement", head: true, fixed: true, show: s => s.file || s.name === "commit" ? h("a", { href: "#/statements/" + encodeURIComponent(s.name) }, s.name) : s.name },
			{ label: "Share of time", num: true, show: s => bar(s.share, percent(s.share)) },
			{ label: "Calls", num: true, show: s => number(s.calls) },
			{ label: "Mean", num: true, show: s => ms(s.mean_ms) },
			{ label: "p99", num: true, show: s => ms(s.p99_ms) },
			{ label: "@plan", show: s => contract(s) },
		],
	});
	return (body, data) => {
		if (!body.contains(table.element)) body.append(table.element, h("p", {}, h("a", { href: "#/statements" }, "All statements")));
		const all = data.statements.reduce((n, s) => n + s.total_seconds, 0);
		table.show(data.statements.filter(s => s.calls).map(s => ({ ...s, share: all ? s.total_seconds / all : 0 })).sort((a, b) => b.share - a.share).slice(0, 6));
	};
}

// contract shows whether a @plan holds.
export function contract(s) {
	const [text, kind] = { holds: ["holds", "good"], broken: ["broken", "bad"], unchecked: ["not checked", ""], none: ["–", "none"] }[s.contract.state];
	return kind === "none" ? h("span", { class: "muted" }, text) : badge(text, kind);
}

function showEvents(list, events) {
	const key = JSON.stringify(events.map(e => e.at + e.message));
	if (list.dataset.key === key) return;
	list.dataset.key = key;
	list.replaceChildren(...[...events].reverse().slice(0, 30).map(e => h("li", {}, h("time", { datetime: e.at }, new Date(e.at).toLocaleTimeString("en-GB")), " ", badge(e.level, { error: "bad", warn: "warn" }[e.level]), " ", e.message)));
	if (!events.length) list.append(h("li", { class: "empty" }, "None."));
}

// In flight: what runs now, who holds a transaction open, and who waits for whom.

import { h, api, seconds, poll, panel, badge, confirm, act, sentence, Table } from "./lib.js";

export function open(main) {
	const wait = x => x.wait ? h("span", {}, x.wait, x.blocked_by.length ? h("strong", {}, " blocked by pid " + x.blocked_by.join(", ")) : "") : "";
	const cancel = x => h("button", { type: "button", class: "danger small", "aria-label": `Cancel ${x.statement}, ${x.id}`, onclick: async e => {
		const button = e.currentTarget;
		if (await confirm(`Cancel ${x.statement}?`, `Its caller gets an error${x.route ? ` (${x.route})` : ""}. If it is part of a transaction, the transaction is rolled back.`, "Cancel the statement")) {
			await act(button, () => api(`/console/api/in-flight/${x.id}/cancel`, { method: "POST" }), x.statement + " was cancelled.");
			poller.again();
		}
	} }, "Cancel");
	const running = new Table({
		caption: "Connections of this process in use", key: x => x.id, sort: 1, descending: true, empty: "No statement runs now.",
		columns: [
			{ label: "Statement", head: true, value: x => x.statement, show: x => x.statement },
			{ label: "Age", num: true, value: x => x.statement_seconds, show: x => seconds(x.statement_seconds) },
			{ label: "State", value: x => x.transaction, show: x => x.idle ? badge("between statements", "warn") : badge(x.transaction ? "in a transaction" : "running", "") },
			{ label: "Request", value: x => x.route, show: x => x.route ? h("span", {}, x.route, h("br"), h("code", {}, x.request_id)) : "–" },
			{ label: "Server", value: x => x.server, show: x => h("span", {}, x.server, h("br"), h("small", { class: "muted" }, "pid " + x.pid + ", class " + x.class)) },
			{ label: "Waits for", show: wait },
			{ name: "Cancel", fixed: true, show: cancel },
		],
	});
	const transactions = new Table({
		caption: "Open transactions of this process", key: x => x.id, sort: 0, descending: true, empty: "No transaction is open.",
		columns: [
			{ label: "Open for", num: true, head: true, value: x => x.seconds, show: x => seconds(x.seconds) },
			{ label: "Begun at", value: x => x.caller, show: x => h("code", {}, x.caller) },
			{ label: "State", value: x => x.idle, show: x => x.idle ? badge("the code between statements runs", "warn") : badge(x.statement + " runs", "") },
			{ label: "Last statement", value: x => x.statement, show: x => x.statement },
			{ label: "Request", value: x => x.route, show: x => x.route ? h("span", {}, x.route, h("br"), h("code", {}, x.request_id)) : "–" },
			{ label: "pid", num: true, value: x => x.pid, show: x => x.pid },
		],
	});
	const sessions = new Table({
		caption: "Other sessions of the database", key: x => x.pid, sort: 4, descending: true, empty: "No other session runs a statement or holds a transaction open.",
		columns: [
			{ label: "pid", head: true, num: true, value: x => x.pid, show: x => x.pid },
			{ label: "Application", value: x => x.application, show: x => h("span", {}, x.application || "–", h("br"), h("small", { class: "muted" }, x.role)) },
			{ label: "State", value: x => x.state, show: x => x.state ? badge(x.state, x.state.startsWith("idle in transaction") ? "warn" : "") : h("span", { class: "muted" }, "not visible to this role") },
			{ label: "Statement", value: x => x.statement, show: x => x.statement || "–" },
			{ label: "Transaction open", num: true, value: x => x.transaction_seconds, show: x => seconds(x.transaction_seconds) },
			{ label: "Waits for", show: wait },
		],
	});
	const problem = h("p", { class: "notice", hidden: true });
	main.append(h("h1", {}, "In flight"));
	const body = h("div");
	main.append(body);
	const poller = poll(body, () => api("/console/api/in-flight"), (into, d) => {
		if (!into.firstChild) {
			into.append(panel("Running statements", running.element), panel("Open transactions", h("p", { class: "muted" }, "A transaction holds a connection and its locks until it ends. The line is where the code began it."), transactions.element),
				panel("Other sessions of the database", problem, sessions.element));
		}
		running.show(d.running);
		transactions.show(d.running.filter(x => x.transaction));
		problem.hidden = !d.sessions_problem;
		if (d.sessions_problem) problem.textContent = "The server's sessions are unknown: " + d.sessions_problem.detail + ". " + sentence(d.sessions_problem.hint) + " Trying again every second.";
		sessions.element.hidden = !!d.sessions_problem;
		sessions.show(d.sessions);
	}, 1000);
	return poller;
}

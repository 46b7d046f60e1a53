// Tasks: by state and name, with their payloads and errors, and what an operator may do.

import { h, api, count, when, poll, badge, confirm, act, Table } from "./lib.js";

const states = ["pending", "running", "completed", "failed", "cancelled"];
const kinds = { failed: "bad", running: "warn", completed: "good" };

export function open(main) {
	const status = h("select", { id: "task-status", onchange: () => restart() }, h("option", { value: "" }, "every state"), states.map(s => h("option", { value: s }, s)));
	const name = h("input", { id: "task-name", type: "search", autocomplete: "off", placeholder: "exact name", onchange: () => restart() });
	const counts = h("dl", { class: "tiles" });
	const older = h("button", { type: "button", onclick: () => restart(next) }, "Older tasks"), newest = h("button", { type: "button", onclick: () => restart() }, "First page");
	let cursor = "", next = "";

	const button = (text, x, kind, ask, method, path, done) => h("button", { type: "button", class: "small " + kind, "aria-label": `${text} task ${x.id}`, onclick: async e => {
		const b = e.currentTarget;
		if (ask && !await confirm(`${text} task ${x.id}?`, ask, text + " the task")) return;
		if (await act(b, () => api("/v1/tasks/" + x.id + path, { method }), done)) poller.again();
	} }, text);
	const acts = x => h("span", { class: "row tight" },
		["failed", "cancelled", "pending"].includes(x.status) ? button("Retry", x, "", "", "POST", "/retry", `Task ${x.id} is due now.`) : null,
		["pending", "running"].includes(x.status) ? button("Cancel", x, "danger", x.status === "running" ? "Its worker loses the lease. The work may have been done already." : "No worker will get it.", "POST", "/cancel", `Task ${x.id} was cancelled.`) : null,
		x.status !== "running" ? button("Delete", x, "danger", "Its payload and its errors are removed for good.", "DELETE", "", `Task ${x.id} was deleted.`) : null);
	const table = new Table({
		caption: "Tasks", key: x => x.id + x.status + x.updated_at, empty: "No task matches.",
		columns: [
			{ label: "Task", head: true, num: true, show: x => x.id },
			{ label: "Name", show: x => x.name },
			{ label: "State", show: x => badge(x.status, kinds[x.status]) },
			{ label: "Attempts", num: true, show: x => `${x.attempts} of ${x.max_attempts}` },
			{ label: "Due", show: x => when(x.run_at) },
			{ label: "Worker", show: x => x.worker || "–" },
			{ label: "Payload and error", class: "wrap", fixed: true, show: x => h("details", {}, h("summary", {}, x.last_error ? h("span", { class: "bad" }, cut(x.last_error)) : h("span", { class: "muted" }, "payload")),
				x.last_error ? h("p", {}, h("strong", {}, "Last error: "), x.last_error) : null, h("pre", { tabindex: "0", role: "region", "aria-label": "Payload of task " + x.id }, JSON.stringify(x.payload, null, 2)),
				h("p", { class: "muted" }, "Created ", when(x.created_at), ", changed ", when(x.updated_at), x.lease_until ? [", lease until ", when(x.lease_until)] : null)) },
			{ name: "Acts", fixed: true, show: acts },
		],
	});
	main.append(h("h1", {}, "Tasks"), counts, h("div", { class: "row controls" },
		h("div", { class: "field" }, h("label", { for: "task-status" }, "State"), status), h("div", { class: "field" }, h("label", { for: "task-name" }, "Name"), name)));
	const body = h("div");
	main.append(body, h("div", { class: "row" }, newest, older));

	function load() {
		const q = new URLSearchParams({ limit: "50" });
		if (status.value) q.set("status", status.value);
		if (name.value.trim()) q.set("name", name.value.trim());
		if (cursor) q.set("after", cursor);
		return Promise.all([api("/v1/tasks?" + q), api("/v1/stats/tasks")]);
	}
	const poller = poll(body, load, (into, [page, totals]) => {
		if (!into.firstChild) into.append(table.element);
		next = page.next;
		older.disabled = !next;
		newest.disabled = !cursor;
		table.show(page.items);
		counts.replaceChildren(...Object.entries(totals).filter(([, n]) => typeof n === "number").map(([k, n]) => h("div", { class: k === "failed" && n ? "bad" : "" }, h("dt", {}, k[0].toUpperCase() + k.slice(1)), h("dd", {}, count(n)))));
	}, 3000);
	function restart(from) { cursor = from || ""; poller.again(); }
	return poller;
}

const cut = s => s.length > 60 ? s.slice(0, 60) + "…" : s;

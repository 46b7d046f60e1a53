// Schema: migrations and what they changed, drift, and the size and use of tables and indexes.

import { h, add, api, number, count, bytes, seconds, when, percent, breakable, poll, panel, badge, Table } from "./lib.js";
import { sql } from "./sql.js";

const states = { applied: ["applied", "good"], pending: ["pending", "warn"], missing: ["not in this program", "bad"], out_of_order: ["pending, out of order", "bad"] };

export function open(main) {
	const migrations = new Table({
		caption: "Migrations", key: m => m.version + m.state, empty: "There are no migrations.",
		columns: [
			{ label: "Migration", head: true, class: "wrap", fixed: true, show: m => h("details", {}, h("summary", {}, breakable(m.file || "version " + m.version)), m.note ? h("p", {}, m.note) : null, m.sql ? sql(m.sql) : null) },
			{ label: "State", show: m => h("span", {}, badge(...states[m.state]), m.edited ? [" ", badge("edited since", "bad")] : null) },
			{ label: "Applied", show: m => when(m.applied_at) },
			{ label: "Took", num: true, show: m => seconds(m.seconds) },
			{ label: "By", show: m => m.by ? `${m.by} (${m.role})` : "–" },
		],
	});
	const tables = new Table({
		caption: "Tables", dense: true, key: t => t.schema + "." + t.name, sort: 2, descending: true, empty: "There are no tables.",
		columns: [
			{ label: "Table", head: true, value: t => t.name, show: t => t.schema === "public" ? t.name : t.schema + "." + t.name },
			{ label: "Rows", num: true, title: "The planner's estimate", value: t => t.rows, show: t => "~" + number(t.rows) },
			{ label: "Size", num: true, value: t => t.bytes, show: t => bytes(t.bytes) },
			{ label: "Indexes", num: true, value: t => t.index_bytes, show: t => bytes(t.index_bytes) },
			{ label: "Index scans", num: true, value: t => t.index_scans, show: t => number(t.index_scans) },
			{ label: "Sequential scans", num: true, value: t => t.sequential_scans, show: t => number(t.sequential_scans) },
			{ label: "Dead rows", num: true, value: t => t.dead_rows, show: t => t.dead_rows ? `${number(t.dead_rows)} (${percent(t.dead_rows / (t.rows + t.dead_rows))})` : "0" },
			{ label: "Vacuumed", value: t => t.vacuumed_at, show: t => when(t.vacuumed_at) },
			{ label: "Analyzed", value: t => t.analyzed_at, show: t => when(t.analyzed_at) },
		],
	});
	const indexes = new Table({
		caption: "Indexes", key: i => i.schema + "." + i.name, sort: 2, descending: true, empty: "No index matches.",
		rowClass: i => i.valid ? "" : "wrong",
		columns: [
			{ label: "Index", head: true, class: "wrap", fixed: true, value: i => i.name, show: i => h("details", {}, h("summary", {}, breakable(i.name)), sql(i.definition)) },
			{ label: "Table", value: i => i.table, show: i => i.table },
			{ label: "Size", num: true, value: i => i.bytes, show: i => bytes(i.bytes) },
			{ label: "Scans", num: true, value: i => i.scans, show: i => number(i.scans) },
			{ label: "State", value: i => !i.valid ? 0 : i.unused ? 1 : 2, show: i => !i.valid ? badge("INVALID", "bad") : i.unused ? badge("unused", "warn") : badge(i.primary ? "primary key" : i.unique ? "unique" : "used", "") },
		],
	});
	const last = h("p", { class: "answer" }), change = h("div", { class: "change" }), drift = h("div"), about = h("p", { class: "muted" }), answer = h("p", { class: "answer" });
	const only = h("select", { id: "only", onchange: () => filter() }, h("option", { value: "" }, "all"), h("option", { value: "unused" }, "unused"), h("option", { value: "invalid" }, "INVALID"));
	let data = null;
	const filter = () => data && indexes.show(data.indexes.filter(i => only.value === "unused" ? i.unused : only.value === "invalid" ? !i.valid : true));

	const history = panel("Migrations"), sizes = h("div");
	main.append(h("h1", {}, "Schema"), history, sizes);
	const one = poll(history, () => api("/console/api/migrations"), (into, d) => {
		if (!into.firstChild) into.append(last, change, drift, migrations.element);
		const latest = d.migrations.filter(m => m.applied_at).sort((a, b) => Date.parse(b.applied_at) - Date.parse(a.applied_at) || b.version - a.version)[0];
		last.replaceChildren();
		add(last, (latest ? [h("strong", {}, "Last: " + (latest.file || latest.version)), ", applied ", when(latest.applied_at), latest.seconds != null ? ` in ${seconds(latest.seconds)}` : "", ". ", latest.note] : ["No migration has been applied."]));
		change.replaceChildren();
		if (latest && latest.sql) change.append(sql(latest.sql));
		drift.replaceChildren();
		add(drift, d.drift.length ? h("ul", { class: "bad" }, d.drift.map(x => h("li", {}, x))) : h("p", {}, badge("no drift in the history", "good"), d.pending ? [" ", badge(d.pending + " pending", "warn")] : null),
			h("p", { class: "muted" }, "To compare the schema itself with the migrations, run ", h("code", {}, d.drift_command), "."));
		migrations.show(d.migrations);
	}, 30000);
	const two = poll(sizes, () => api("/console/api/tables"), (into, d) => {
		data = d;
		if (!into.firstChild) {
			into.append(panel("Tables", about, tables.element), panel("Indexes", answer, h("div", { class: "row controls" }, h("div", { class: "field" }, h("label", { for: "only" }, "Show"), only)), indexes.element));
		}
		about.textContent = `PostgreSQL ${d.server_version}, ${bytes(d.database_bytes)}. ` + (d.counts ? `Scans are counted ${d.counted_since ? "since " + new Date(d.counted_since).toLocaleString("en-GB") : "since the statistics began"}, on this server only.` : "track_counts is off, so scans are not counted.");
		const unused = d.indexes.filter(i => i.unused), invalid = d.indexes.filter(i => !i.valid);
		answer.textContent = (invalid.length ? `${count(invalid.length)} INVALID: ${invalid.map(i => i.name).join(", ")}. They slow down writes, and no statement uses them. ` : "No index is INVALID. ") +
			(unused.length ? `${count(unused.length)} unused here (${bytes(unused.reduce((n, i) => n + i.bytes, 0))}). Look at the replicas, too, before you drop one.` : "Every index is used.");
		tables.show(d.tables);
		filter();
	}, 15000);
	return { close() { one.close(); two.close(); } };
}

// SQL with its keywords, literals, comments and parameters in colour.

import { h } from "./lib.js";

const token = /(--[^\n]*|\/\*[\s\S]*?\*\/)|('(?:[^']|'')*'|\$\$[\s\S]*?\$\$)|(\$\d+|@\w+)|(\b\d+(?:\.\d+)?\b)|("(?:[^"]|"")*")|([A-Za-z_]\w*)/g;

const keywords = new Set(("add all alter always and any array as asc begin between by cascade case check coalesce collate column commit concurrently conflict constraint create cross current_timestamp cte " +
	"default deferrable delete desc distinct do drop else end exists extension false fetch filter first for foreign from full function generated greatest group having identity if in include index initially inner insert into " +
	"is join key language last lateral least left like limit lock locked materialized merge natural no not notnull null nulls nullif of offset on only or order ordinality outer over partition primary references returning returns replace right row rows " +
	"schema select sequence set skip some stable stored table then trigger true truncate type union unique unnest update using valid validate values view volatile when where window with").split(" "));

export function sql(text) {
	const code = h("code");
	let at = 0;
	for (const m of text.matchAll(token)) {
		const kind = m[1] ? "comment" : m[2] ? "string" : m[3] ? "param" : m[4] ? "number" : m[6] && keywords.has(m[6].toLowerCase()) ? "keyword" : "";
		if (!kind) continue;
		code.append(text.slice(at, m.index), h("span", { class: "sql-" + kind }, m[0]));
		at = m.index + m[0].length;
	}
	code.append(text.slice(at));
	return h("pre", { class: "sql", tabindex: "0", role: "region", "aria-label": "SQL" }, code);
}

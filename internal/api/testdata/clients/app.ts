// What a program with the generated client does. It ends with an error at the first
// answer that is not as expected.
import { createClient, type Problem } from "quern-client";

declare const process: { argv: string[] };
const [, , baseUrl, token] = process.argv;
const api = createClient({ baseUrl, token });

function expect(what: string, ok: unknown): asserts ok {
  if (!ok) throw new Error(what);
}

const stranger = await createClient({ baseUrl }).GET("/v1/users");
expect("no token", stranger.response.status === 401 && stranger.error?.code === "unauthorized");

const created = await api.POST("/v1/users", {
  body: { username: "ts", email: "ts@example.org", tags: ["a"] },
  params: { header: { "Idempotency-Key": "ts-1" } },
});
expect("create", created.response.status === 201 && created.data);
const id = created.data.id;
const again = await api.POST("/v1/users", {
  body: { username: "ts", email: "ts@example.org", tags: ["a"] },
  params: { header: { "Idempotency-Key": "ts-1" } },
});
expect("repeat", again.data?.id === id && again.response.headers.get("Idempotency-Replayed") === "true");
const conflict = await api.POST("/v1/users", { body: { username: "ts", email: "x" } });
const problem: Problem | undefined = conflict.error;
expect("conflict", problem?.status === 409 && problem.code === "username_taken" && problem.errors?.[0]?.location === "body.username");

const found = await api.GET("/v1/users/{id}", { params: { path: { id } } });
expect("get", found.data?.username === "ts" && found.data.age === null);
const etag = found.response.headers.get("ETag")!;
const patched = await api.PATCH("/v1/users/{id}", {
  params: { path: { id }, header: { "If-Match": etag } }, body: { age: 30 },
});
expect("patch", patched.data?.age === 30);
const late = await api.PATCH("/v1/users/{id}", {
  params: { path: { id }, header: { "If-Match": etag } }, body: { age: 31 },
});
expect("late", late.response.status === 412 && late.error?.code === "version_mismatch");

const rows = "username,email\n" + Array.from({ length: 5 }, (_, i) => `row${i},r@x\n`).join("");
const imported = await api.POST("/v1/users/import", {
  body: rows, bodySerializer: (body) => body, headers: { "Content-Type": "text/csv" },
});
expect("import", imported.data?.inserted === 5);
const ids: number[] = [];
for (let after: string | undefined; ; ) {
  const page = await api.GET("/v1/users", { params: { query: { limit: 2, after } } });
  expect("list", page.data);
  ids.push(...page.data.items.map((user) => user.id));
  if (page.data.next === null) break;
  after = page.data.next;
}
expect("pages", ids.length === 6);
const exported = await api.GET("/v1/users/export", { parseAs: "text", headers: { Accept: "text/csv" } });
expect("export", String(exported.data).includes("row4"));
const bulk = await api.PATCH("/v1/users", { body: [{ id, age: 40 }, { id: ids[1]!, username: "row4" }] });
expect("bulk", bulk.response.status === 409 && bulk.error?.errors?.[0]?.location === "body[1].username");
await api.POST("/v1/tasks", { body: { name: "t", payload: { to: "ts" } } });
const claimed = await api.POST("/v1/tasks/claim", { body: { worker: "ts" } });
expect("claim", claimed.data?.items[0]?.name === "t");
const task = claimed.data.items[0];
const done = await api.POST("/v1/tasks/{id}/complete", {
  params: { path: { id: task.id } }, body: { worker: "ts", attempts: task.attempts },
});
expect("complete", done.data?.status === "completed");
const deleted = await api.DELETE("/v1/users/{id}", { params: { path: { id } } });
expect("delete", deleted.response.status === 204);

// The flow as a user of @hey-api/openapi-ts writes it; given the address of a gateway.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { client } from "./generated/client.gen";
import {
  createPost,
  deletePost,
  getPost,
  listPosts,
  listSessions,
  login,
  logout,
  refresh,
  register,
  revoke,
  updatePost,
  vote,
} from "./generated/sdk.gen";
import type { ContentSort, PostPublic, SessionTokens } from "./generated/types.gen";

async function main(address: string): Promise<void> {
  const username = `u${randomUUID().replaceAll("-", "").slice(0, 16)}`;
  const email = `${username}@example.com`;
  const password = "a quiet red bicycle";
  client.setConfig({ baseUrl: address });

  const registered = await register({ body: { username, email, password } });
  assert.equal(registered.response?.status, 201, JSON.stringify(registered.error));

  const refused = await login({ body: { username, password: "wrong" } });
  assert.equal(refused.error?.type, "invalid-credentials");

  const byEmail = await login({ body: { email, password }, throwOnError: true });
  const signedIn = await login({ body: { username, password }, throwOnError: true });
  const first: SessionTokens = signedIn.data;
  const refreshed = await refresh({ body: { refresh_token: first.refresh_token }, throwOnError: true });
  const tokens: SessionTokens = refreshed.data;
  assert.notEqual(tokens.refresh_token, first.refresh_token);

  const sorts: ContentSort[] = ["top", "hot", "new"];
  const anonymous = await listPosts({ query: { sort: "top" }, throwOnError: true });
  assert.ok(Array.isArray(anonymous.data.items));

  client.setConfig({ auth: (scheme) => (scheme.type === "apiKey" ? undefined : tokens.access_token) });
  const created = await createPost({ body: { title: "A title", content: "Words" }, throwOnError: true });
  const post: PostPublic = created.data;
  assert.equal(post.owner.username, username);
  const changed = await updatePost({ path: { post_id: post.id }, body: { title: "Another" }, throwOnError: true });
  assert.equal(changed.data.title, "Another");
  const cast = await vote({ body: { post_id: post.id, direction: 1 }, throwOnError: true });
  assert.equal(cast.data.votes, 1);

  for (const sort of sorts) {
    const page = await listPosts({ query: { sort, limit: 100 }, throwOnError: true });
    assert.ok(page.data.items.some((item) => item.id === post.id));
  }
  const counted = await listPosts({ query: { mine: true, total: true }, throwOnError: true });
  assert.ok("total" in counted.data && counted.data.total === 1);

  const sessions = await listSessions({ throwOnError: true });
  assert.equal(sessions.data.items.filter((session) => session.is_current).length, 1);
  assert.equal(sessions.data.items.length, 2);
  const next: string | null = sessions.data.next;
  assert.equal(next, null);

  await revoke({ body: { token: byEmail.data.refresh_token }, throwOnError: true });
  await deletePost({ path: { post_id: post.id }, throwOnError: true });
  const missing = await getPost({ path: { post_id: post.id } });
  assert.equal(missing.error?.status, 404);

  await logout({ throwOnError: true });
  const ended = await refresh({ body: { refresh_token: tokens.refresh_token } });
  assert.equal(ended.error?.type, "invalid-refresh-token");
}

main(process.argv[2] ?? "").catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});

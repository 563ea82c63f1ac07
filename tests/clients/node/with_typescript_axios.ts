// The flow as a user of openapi-generator's typescript-axios client writes it; given the address of a gateway.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { isAxiosError } from "axios";
import { AuthApi, Configuration, ContentSort, PostsApi, VotesApi } from "./generated";
import type { Problem, SessionTokens } from "./generated";

async function refusal(call: Promise<unknown>): Promise<Problem> {
  try {
    await call;
  } catch (error) {
    if (isAxiosError<Problem>(error) && error.response) return error.response.data;
    throw error;
  }
  throw new Error("this is not refused");
}

async function main(address: string): Promise<void> {
  const username = `u${randomUUID().replaceAll("-", "").slice(0, 16)}`;
  const email = `${username}@example.com`;
  const password = "a quiet red bicycle";
  const anonymous = new AuthApi(new Configuration({ basePath: address }));

  const registered = await anonymous.register({ username, email, password });
  assert.equal(registered.status, 201);

  assert.equal((await refusal(anonymous.login(username, "wrong"))).type, "invalid-credentials");
  const byEmail: SessionTokens = (await anonymous.login(undefined, password, undefined, email)).data;
  const first: SessionTokens = (await anonymous.login(username, password)).data;
  const tokens: SessionTokens = (await anonymous.refresh(first.refresh_token)).data;
  assert.notEqual(tokens.refresh_token, first.refresh_token);

  const configuration = new Configuration({ basePath: address, accessToken: tokens.access_token });
  const auth = new AuthApi(configuration);
  const posts = new PostsApi(configuration);
  const post = (await posts.createPost({ title: "A title", content: "Words" })).data;
  assert.equal(post.owner.username, username);
  assert.equal((await posts.updatePost(post.id, { title: "Another" })).data.title, "Another");
  const cast = await new VotesApi(configuration).vote({ post_id: post.id, direction: 1 });
  assert.equal(cast.data.votes, 1);

  // Reading needs no token; first without one.
  for (const reader of [new PostsApi(new Configuration({ basePath: address })), posts]) {
    for (const sort of [ContentSort.Top, ContentSort.Hot, ContentSort.New]) {
      const page = (await reader.listPosts(100, 0, undefined, sort)).data;
      assert.ok(page.items.some((item) => item.id === post.id));
    }
  }
  const own = (await posts.listPosts(undefined, undefined, undefined, undefined, undefined, true, true)).data;
  assert.ok("total" in own && own.total === 1);

  const sessions = (await auth.listSessions()).data;
  assert.equal(sessions.items.filter((session) => session.is_current).length, 1);
  assert.equal(sessions.items.length, 2);
  const next: string | null = sessions.next;
  assert.equal(next, null);

  assert.equal((await anonymous.revoke(byEmail.refresh_token)).status, 200);
  assert.equal((await posts.deletePost(post.id)).status, 204);
  assert.equal((await refusal(posts.getPost(post.id))).status, 404);

  assert.equal((await auth.logout()).status, 204);
  assert.equal((await refusal(anonymous.refresh(tokens.refresh_token))).type, "invalid-refresh-token");
}

main(process.argv[2] ?? "").catch((error: unknown) => {
  console.error(isAxiosError(error) ? [error.message, error.response?.data] : error);
  process.exitCode = 1;
});

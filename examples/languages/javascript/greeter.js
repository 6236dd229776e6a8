// An HTTP component in front of the chat of examples/web: it says hello there and answers with all that was said.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

// localhost is the workload's own service.
const chat = "http://localhost:8080/messages";

async function answer(request) {
  const name = new URL(request.url).searchParams.get("name") ?? "stranger";
  await fetch(chat, { method: "POST", body: `hello ${name}` });
  const said = await fetch(chat);
  return new Response(await said.text(), { headers: { "content-type": "text/plain" } });
}

// One way to send JSON to our own routes. A proof renews the session and with it the token, also from another tab: then this
// page learns the new one and sends once more.

async function send(url, body) {
  return fetch(url, {
    method: 'POST',
    credentials: 'same-origin',
    cache: 'no-store',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json', 'X-CSRF-Token': document.body.dataset.csrf },
    body: JSON.stringify(body),
  });
}

/** The token of the session, in the page and in its forms. */
export function renew(csrf) {
  document.body.dataset.csrf = csrf;
  for (const field of document.querySelectorAll('input[name=csrf]')) field.value = csrf;
}

/** Asks which token the session has now; true where this page had another. Without an answer it keeps its own. */
export async function renewed() {
  const ask = fetch('/console/session', { credentials: 'same-origin', cache: 'no-store', headers: { Accept: 'application/json' } });
  const session = await ask.catch(() => null);
  const { csrf } = session?.ok ? await session.json().catch(() => ({})) : {};
  if (!csrf || csrf === document.body.dataset.csrf) return false;
  renew(csrf);
  return true;
}

/** The answer, whatever it says. Rejects where there is none. What set out before a renewal is refused, and sent once more. */
export async function post(url, body) {
  const token = document.body.dataset.csrf;
  const answer = await send(url, body);
  if (![401, 403].includes(answer.status)) return answer;
  await renewed();
  return document.body.dataset.csrf === token ? answer : send(url, body);
}

/** Where one signs in again and comes back to this page. */
export const signIn = () => `/console/sign-in?error=over&next=${encodeURIComponent(location.pathname + location.search)}`;

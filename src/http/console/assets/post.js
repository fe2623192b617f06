// One way to send JSON to our own routes. A proof in another tab renews the session and with it the token: then this page
// learns the new one and sends once more.

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

/** The answer, whatever it says. Rejects where there is none. */
export async function post(url, body) {
  const answer = await send(url, body);
  return answer.status === 403 && await renewed() ? send(url, body) : answer;
}

/** Where one signs in again and comes back to this page. */
export const signIn = () => `/console/sign-in?error=over&next=${encodeURIComponent(location.pathname + location.search)}`;

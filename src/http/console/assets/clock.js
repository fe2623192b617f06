// Times: the reader's own zone beside the server's UTC, and how long is left, kept true.

const pad = (n) => String(n).padStart(2, '0');

/** `3 min 5 s`, as the server says it. */
export function span(ms) {
  const s = Math.floor(ms / 1000), m = Math.floor(s / 60), h = Math.floor(s / 3600), d = Math.floor(s / 86400);
  const two = (a, unit, b, lesser) => (b ? `${a} ${unit} ${b} ${lesser}` : `${a} ${unit}`);
  if (s < 60) return `${s} s`;
  if (m < 10) return two(m, 'min', s % 60, 's');
  if (h < 1) return `${m} min`;
  return d < 1 ? two(h, 'h', m % 60, 'min') : two(d, 'd', h % 24, 'h');
}

function local(time) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime()) || at.getTimezoneOffset() === 0) return;
  const seconds = time.dataset.when === 'minute' ? '' : `:${pad(at.getSeconds())}`;
  const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}${seconds}`;
  const day = at.toDateString() === new Date().toDateString()
    ? '' : `${at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })}, `;
  const utc = document.createElement('span');
  utc.className = 'utc';
  utc.textContent = ` (${time.textContent})`;
  time.replaceChildren(`${day}${clock}`, utc);
}

function left(time) {
  const ms = new Date(time.dateTime) - Date.now();
  const text = ms <= 0 ? 'time is up' : `${span(ms)} left`;
  if (time.textContent !== text) time.textContent = text;
  time.classList.toggle('short', ms < 15 * 60 * 1000);
}

function since(time) {
  const text = span(Math.max(0, Date.now() - new Date(time.dateTime)));
  if (time.textContent !== text) time.textContent = text;
}

/** After a region was swapped, and once at the start. */
export function refresh(root = document) {
  for (const time of root.querySelectorAll('time[data-when]:not([data-done])')) {
    time.dataset.done = '';
    local(time);
  }
  for (const time of root.querySelectorAll('time[data-left]')) left(time);
  for (const time of root.querySelectorAll('time[data-since]')) since(time);
}

refresh();
setInterval(() => refresh(), 1000);

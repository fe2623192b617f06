// Which colours: the system's, or what this browser was told. Runs before anything is drawn.
(() => {
  'use strict';
  const order = ['system', 'light', 'dark'];
  const read = () => { try { return localStorage.getItem('oust-theme'); } catch { return null; } };
  let theme = order.includes(read()) ? read() : 'system';
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById('theme');
    if (button) { button.hidden = false; button.textContent = { system: 'Auto', light: 'Light', dark: 'Dark' }[theme]; button.setAttribute('aria-label', `Theme: ${button.textContent}`); }
  };
  apply();
  document.addEventListener('DOMContentLoaded', () => {
    apply();
    document.getElementById('theme')?.addEventListener('click', () => {
      theme = order[(order.indexOf(theme) + 1) % order.length];
      try { localStorage.setItem('oust-theme', theme); } catch { /* kept for this page only */ }
      apply();
    });
  });
})();

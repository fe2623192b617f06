// The frame around every page: the menu closes as menus do, and the tab one is on is in sight.

const menu = document.querySelector('details.me');
const tabs = document.querySelector('nav.main ul');
const here = tabs?.querySelector('[aria-current]');

document.addEventListener('click', (event) => {
  if (menu?.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || !menu?.open) return;
  menu.open = false;
  menu.querySelector('summary').focus();
});

// Only as far as needed, and sideways alone: the page itself stays where its address points to.
if (here && here.offsetLeft + here.offsetWidth > tabs.clientWidth) {
  tabs.scrollLeft = here.offsetLeft + here.offsetWidth - tabs.clientWidth;
}

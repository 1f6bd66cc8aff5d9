'use strict';
// Tables that sort by a column and show the rows with what is looked for.
document.documentElement.classList.add('script');
for (const sheet of document.querySelectorAll('.sheet')) {
  const body = sheet.querySelector('tbody');
  const rows = Array.from(body.rows);
  const heads = Array.from(sheet.querySelectorAll('thead th'));
  const search = sheet.querySelector('input');
  const status = sheet.querySelector('[role=status]');
  const number = (row, at) => Number(row.cells[at].dataset.value ?? NaN);
  const text = (row, at) => row.cells[at].textContent;
  const sort = (at, sign) => {
    const byText = heads[at].classList.contains('words');
    const compare = (a, b) => {
      if (byText) return sign * text(a, at).localeCompare(text(b, at), 'en', { numeric: true });
      const [x, y] = [number(a, at), number(b, at)];
      // What has no number comes last, whichever way the others go.
      return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || 0;
    };
    body.append(...rows.slice().sort(compare));
    heads.forEach((head, other) => {
      head.setAttribute('aria-sort', other !== at ? 'none' : sign > 0 ? 'ascending' : 'descending');
    });
  };
  heads.forEach((head, at) => head.querySelector('button').addEventListener('click', () => {
    const now = head.getAttribute('aria-sort');
    const first = head.classList.contains('words') ? 1 : -1;
    sort(at, now === 'none' ? first : now === 'ascending' ? -1 : 1);
  }));
  const show = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = row => wanted.every(word => row.textContent.toLowerCase().includes(word));
    rows.forEach(row => { row.hidden = !fits(row); });
    status.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  };
  search.addEventListener('input', show);
  show();
}

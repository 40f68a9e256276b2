// Checks that the tests run inside the report.
({
harmless_only: () => {
  const bad = [];
  for (const node of document.querySelectorAll('*')) {
    for (const a of node.attributes) {
      if (a.name.startsWith('on') || /^\s*javascript:/i.test(a.value) && ['href', 'src', 'data'].includes(a.name)) bad.push(a.name);
    }
  }
  for (const name of ['iframe', 'object', 'embed', 'base', 'math', 'video', 'audio', 'marquee', 'link:not([rel=icon])', 'form:not([method=dialog])'])
    if (document.querySelector(name)) bad.push(name);
  if (document.querySelectorAll('script').length !== 1 || document.querySelectorAll('style').length !== 1) bad.push('script or style');
  return bad;
},
axe: () => {
  const wrong = [];
  const say = (what, node) => wrong.push(what + ': ' + node.outerHTML.slice(0, 120));
  const ids = Array.from(document.querySelectorAll('[id]')).map((n) => n.id);
  if (new Set(ids).size !== ids.length) wrong.push('ids are not unique');
  for (const img of document.querySelectorAll('img')) if (!img.alt.trim()) say('img without alt', img);
  for (const svg of document.querySelectorAll('svg')) {
    const named = svg.getAttribute('role') === 'img' && (svg.getAttribute('aria-label') || '').trim();
    if (!named && !svg.closest('[aria-hidden=true]')) say('svg without a name', svg);
  }
  for (const node of document.querySelectorAll('button, select, input, a, summary, textarea')) {
    const name = [node.textContent, node.getAttribute('aria-label'), ...Array.from(node.labels || []).map((l) => l.textContent)];
    if (!name.some((n) => n && n.trim())) say('control without a name', node);
  }
  for (const node of document.querySelectorAll('[aria-labelledby]')) {
    const target = document.getElementById(node.getAttribute('aria-labelledby'));
    if (!target || !target.textContent.trim()) say('label missing', node);
  }
  for (const link of document.querySelectorAll('a[href^="#"]')) if (!document.querySelector(link.getAttribute('href'))) say('dead link', link);
  let level = 0;
  for (const h of document.querySelectorAll('body > :not(dialog) h1, body > :not(dialog) h2, h3, h4, h5')) {
    if (h.closest('dialog')) continue;
    const now = Number(h.tagName[1]);
    if (now > level + 1) say('heading skips from ' + level, h);
    level = now;
  }
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  for (const mark of ['main', 'nav', 'body > header']) if (document.querySelectorAll(mark).length !== 1) wrong.push('landmark ' + mark);
  for (const th of document.querySelectorAll('th')) if (!th.scope) say('th without scope', th);
  if (!document.documentElement.lang) wrong.push('no lang');
  if (!document.querySelector('[aria-live=polite]')) wrong.push('no live region');
  return wrong;
},
contrast: () => {
  const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const lum = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const wrong = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.closest('svg, option, script, style')) continue;
    let ground = node;
    while (ground && parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const style = getComputedStyle(node);
    const a = lum(parse(style.color)), b = lum(parse(ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)'));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) wrong.add(node.tagName + '.' + node.className + ' ' + ratio.toFixed(2));
  }
  return Array.from(wrong);
},
});

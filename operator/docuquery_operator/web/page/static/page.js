// Optional: without it all times stand in UTC. Adds the reader's own time, and says when this copy has grown old.
"use strict";
(function () {
  var root = document.documentElement;
  var format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  document.querySelectorAll("time[datetime]").forEach(function (time) {
    var at = new Date(time.getAttribute("datetime"));
    if (isNaN(at) || at.getTimezoneOffset() === 0) return;
    var own = document.createElement("span");
    own.className = "soft";
    own.textContent = " (" + format.format(at) + " your time)";
    time.after(own);
  });
  var asOf = Date.parse(root.dataset.asOf || ""), banner = document.getElementById("old");
  function look() {
    if (banner && asOf && Date.now() - asOf > Number(root.dataset.patience) * 1000) banner.hidden = false;
  }
  look();
  setInterval(look, 15000);
})();

// Starts Clerk's script in a page that does not start it itself.
(function () {
  'use strict';
  // Gone once this script has run.
  var own = document.currentScript;
  var clerk = window.Clerk;
  // The page's own, or none at all: there is nothing to start.
  if (!own || !clerk || typeof clerk.load !== 'function' || clerk.loaded || window.__clerk_gate_started) return;
  window.__clerk_gate_started = true;
  var options = {};
  if (own.dataset.signInUrl) options.signInUrl = own.dataset.signInUrl;
  if (own.dataset.signUpUrl) options.signUpUrl = own.dataset.signUpUrl;
  Promise.resolve(clerk.load(options)).catch(function (error) {
    console.warn('clerk-gate: Clerk did not start', error);
  });
})();

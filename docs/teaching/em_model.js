/* The E-step of one row in plain JavaScript: a network with one layer of stochastic hidden units
   and a class as output. Parameters: W (2, m), b (m), V (m, g), c (g), as lists of numbers.
   A hidden state s is a number from 0 to 2^m - 1; bit h of s is the state of unit h. */
"use strict";

const emModel = (() => {
  const softplus = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));

  function logSumExp(values) {
    const largest = Math.max(...values);
    if (largest === -Infinity) return largest;
    return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  }

  /* Log-odds of the hidden units at x: a = x W + b. */
  function logOdds(parameters, x) {
    return parameters.b.map((b, h) => b + x[0] * parameters.W[0][h] + x[1] * parameters.W[1][h]);
  }

  /* log P(y = k | s) for every hidden state s and class k: softmax of z V + c. */
  function logClassTable(parameters) {
    const { V, c } = parameters;
    const states = Array.from({ length: 2 ** V.length }, (_, s) => s);
    return states.map((s) => {
      const logits = c.map((ck, k) => V.reduce((sum, row, h) => sum + ((s >> h) & 1) * row[k], ck));
      const total = logSumExp(logits);
      return logits.map((logit) => logit - total);
    });
  }

  /* log P(s | x) of every hidden state, from the log-odds of the units. */
  function logPrior(a) {
    let values = [0];
    for (const odds of a) {
      const off = -softplus(odds);
      const on = -softplus(-odds);
      values = [...values.map((value) => value + off), ...values.map((value) => value + on)];
    }
    return values;
  }

  /* p(y = k | x) of every class: the sum over hidden states. */
  function classProbability(a, logTable) {
    const prior = logPrior(a);
    return logTable[0].map((_, k) => Math.exp(logSumExp(prior.map((p, s) => p + logTable[s][k]))));
  }

  /* Prior and posterior of the hidden states and of the units at x, if the class is y. */
  function posterior(parameters, x, y) {
    const a = logOdds(parameters, x);
    const table = logClassTable(parameters);
    const prior = logPrior(a);
    const joint = prior.map((p, s) => p + table[s][y]);
    const logLikelihood = logSumExp(joint);
    const states = joint.map((value) => Math.exp(value - logLikelihood));
    const ofUnit = (h) => states.reduce((sum, p, s) => sum + ((s >> h) & 1) * p, 0);
    return {
      logLikelihood,
      classProbability: classProbability(a, table),
      prior: a.map((odds) => Math.exp(-softplus(-odds))),
      posterior: a.map((_, h) => ofUnit(h)),
      statePrior: prior.map(Math.exp),
      statePosterior: states,
      stateLikelihood: table.map((row) => Math.exp(row[y])),
    };
  }

  return { logOdds, logClassTable, classProbability, posterior };
})();

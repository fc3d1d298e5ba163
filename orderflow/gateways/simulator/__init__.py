"""A payment gateway to develop and test against: a server of its own with a durable ledger.

It imports nothing of OrderFlow, so that both can only agree over HTTP. Start it with
``python -m orderflow.gateways.simulator --port 8090 --ledger gateway.db``.

Operations (``POST /v1/payments/{reference}/…``, each with an ``Idempotency-Key``):

- ``authorize`` {amount, currency, payment_token}: 200 {authorization_id} · 402 ``payment_declined`` or
  ``insufficient_funds`` · 409 ``reference_voided`` · 409 ``already_authorized`` (counted as a duplicate attempt)
- ``capture``: 200 {capture_id} · 402 ``capture_refused`` · 404 ``unknown_reference`` · 409 ``reference_voided``,
  ``reference_refunded``, ``not_authorized`` or ``already_captured`` (counted as a duplicate attempt)
- ``void``: 200 {status}: ``voided``, also for an unknown reference (an authorize that comes later is refused), or
  ``refunded`` where that was done before · 409 ``already_captured``
- ``refund``: 200 {refund_id} · 404 ``unknown_reference`` · 409 ``not_captured``

An answer, refusals included, is remembered under its key: the same call gets it again (``Idempotent-Replayed: true``),
another call under the same key gets 422 ``idempotency_key_reused``. Bad input is 4xx with ``errors`` naming field and
rule. To look: ``GET /v1/payments/{reference}``, ``GET /v1/ledger``, ``GET /health``,
``GET /metrics``. To break it: ``PUT /v1/faults``.

There is no authentication: keep it on loopback.
"""

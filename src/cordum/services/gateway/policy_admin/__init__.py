"""Changing the policy over HTTP: bundles, publishing, going back, and looking before either (spec-safety section 5).

What is in force when:

* A bundle is *written* with PUT. That stores a draft, checked by the kernel; no job is decided by it.
* *Publishing* puts drafts in force, all named ones together or none: one compare-and-set of `cfg:system:policy`, one
  revision, one signed manifest. Kernels are told on the bus and reload at once; without the bus they find it by timer.
* What takes something away is in force at once, too: deleting a bundle, switching one off (PUT with `enabled: false`),
  toggling an output rule, velocity rules, the global sections. So is a rollback, which restores a snapshot.
* Whatever would let a request pass that is stopped now is refused with the differences until the caller repeats it
  with `acknowledge_relaxed: true`. A toggle or a velocity rule names the one rule it is about, and is not asked twice.
* Every change of what is in force keeps the state before and after among the last ten snapshots.

Bundles bind every tenant, so only the installation's own tenant (TENANT_ID) and callers that may cross tenants read
and change them. Lists of rules and replays are for every tenant, and show a tenant what concerns it.
"""

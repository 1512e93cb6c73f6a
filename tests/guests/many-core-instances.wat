;; Is a whole component with enough core instances to exhaust the pool.
(component
  (component $eight
    (core module $empty)
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)))
  (instance (instantiate $eight)) (instance (instantiate $eight)) (instance (instantiate $eight))
  (instance (instantiate $eight)) (instance (instantiate $eight)) (instance (instantiate $eight))
  (instance (instantiate $eight)) (instance (instantiate $eight)) (instance (instantiate $eight)))

;; A whole component of very many core instances, each of which takes room in the pool that others need too.
(component
  (core module $empty)
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty)))

;; Loops forever, and has the maximum number of core instances, memories and tables.
(table 1 funcref)
(memory 1)
(func $hostile (result i32) (loop $for-ever (br $for-ever)) (unreachable))
;;@ component
(core module $empty)
(core module $memory (memory 1))
(core module $table (table 1 funcref))
(core instance (instantiate $table)) (core instance (instantiate $table)) (core instance (instantiate $table))
(core instance (instantiate $memory)) (core instance (instantiate $memory)) (core instance (instantiate $empty))
 (component $seven
  (core module $empty)
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
  (core instance (instantiate $empty)))
(instance (instantiate $seven)) (instance (instantiate $seven)) (instance (instantiate $seven))
(instance (instantiate $seven)) (instance (instantiate $seven)) (instance (instantiate $seven))
(instance (instantiate $seven)) (instance (instantiate $seven))

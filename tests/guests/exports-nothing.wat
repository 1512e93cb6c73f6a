;; Is a whole component that exports nothing.
(component)

;; A whole component that exports nothing.
(component)

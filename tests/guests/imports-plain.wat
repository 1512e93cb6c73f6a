;; A whole component that asks for a function without a package.
(component (import "escape" (func)))

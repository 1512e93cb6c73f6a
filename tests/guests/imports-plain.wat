;; Is a whole component that imports a function without a package.
(component (import "escape" (func)))

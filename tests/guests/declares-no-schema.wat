;; States a schema of its settings that is no JSON.
;;@ schema [{

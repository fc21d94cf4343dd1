"""An estimator with the interface of scikit-learn."""
